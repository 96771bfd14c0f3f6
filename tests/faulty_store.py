"""A server that fails in the ways that networks and servers do, whatever it is asked."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

REQUEST_SECONDS = 5
OK = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "0"\r\n%s\r\n'
ERROR = b"HTTP/1.1 %d Error\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
REFUSAL = b"<Error><Code>%s</Code><Message>not\n now</Message></Error>"


def _request(connection: socket.socket) -> bytes:
    """Its head, or the beginning of a handshake; the rest is left unread, as a server does that fails."""
    received = b""
    while b"\r\n\r\n" not in received and not received.startswith(b"\x16") and (more := connection.recv(65536)):
        received += more
    return received


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closed(connection: socket.socket) -> None:
    pass


def reset(connection: socket.socket) -> None:
    _reset(connection)


def closed_after_the_request(connection: socket.socket) -> None:
    _request(connection)


def reset_in_the_head(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(b"HTTP/1.1 200 O")
    _reset(connection)


def closed_in_the_body(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(OK % (1000, b"") + b"x" * 500)


def reset_in_the_body(connection: socket.socket) -> None:
    closed_in_the_body(connection)
    time.sleep(0.02)  # or the client never sees what came before
    _reset(connection)


def stalled(connection: socket.socket) -> None:
    _request(connection)
    time.sleep(0.4)


def stalled_in_the_body(connection: socket.socket) -> None:
    closed_in_the_body(connection)
    time.sleep(0.4)


def garbage(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(random.Random(0).randbytes(300))


def garbage_in_chunks(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk\r\n")


def garbage_in_headers(connection: socket.socket) -> None:
    _request(connection)
    lines = b"Last-Modified: yesterday\r\nx-amz-checksum-crc32: AAAA\r\nx-amz-meta-sha256: \xff\r\n"
    connection.sendall(OK % (4, lines) + b"none")


def half_a_page(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(OK % (30, b"Content-Type: application/xml\r\n") + b"<ListBucketResult><Contents><K")


def a_portal(connection: socket.socket) -> None:
    _request(connection)
    page = b"<html><body>Please log in</body></html>"
    connection.sendall(OK % (len(page), b"Content-Type: text/html\r\n") + page)


def no_length(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def a_redirect(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")


def _error(status: int, body: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        _request(connection)
        connection.sendall(ERROR % (status, len(body), body))

    return answer


def untrusted(connection: socket.socket) -> None:
    """A certificate that nobody vouches for; here as the server that it is not."""
    with contextlib.suppress(OSError):
        connection.recv(4096)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x50")  # a TLS alert: internal error


FAULTS: dict[str, Callable[[socket.socket], None]] = {
    one.__name__: one
    for one in (
        closed, reset, closed_after_the_request, reset_in_the_head, closed_in_the_body, reset_in_the_body, stalled,
        stalled_in_the_body, garbage, garbage_in_chunks, garbage_in_headers, half_a_page, a_portal, no_length, a_redirect,
    )
} | {
    "500": _error(500, REFUSAL % b"InternalError"),
    "500 without a reason": _error(500, b""),
    "502 of a proxy": _error(502, b"<html>Bad Gateway</html>"),
    "503": _error(503, REFUSAL % b"SlowDown"),
    "403 of a proxy": _error(403, b"<html>Forbidden"),
    "400 cut off": _error(400, b"<Error><Code>Bad"),
    "tls: plain text": a_portal,
    "tls: an alert": untrusted,
    "tls: closed": closed,
    "tls: garbage": garbage,
}  # fmt: skip


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that treats each connection like that."""

    def treat(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(REQUEST_SECONDS)
            answer(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=treat, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
