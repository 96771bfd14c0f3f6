"""A local server with OpenAI's chat completions API that gives prescribed answers to X-ALMA's prompt, or to others."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROMPT = re.compile(r"Translate this from (\w+) to (\w+):\n\1: (.*)\n\2:", re.DOTALL)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[str, dict], tuple], read: Callable[[str], str]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        """(text asked about, request) -> (answer, finish reason), and for an error also its status and headers. An answer
        that is no text is sent as the whole reply."""
        self.read = read
        """Last message -> text asked about."""
        self.asked: Counter[str] = Counter()
        """Text -> number of answers sent."""
        self.requests: list[dict] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Prints nothing if a client is killed during a request."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = self.server.read(request["messages"][-1]["content"])
        translation, reason, *more = self.server.answer(text, request)
        status, headers = more or (500 if reason == "error" else 200, {})
        with self.server.lock:
            self.server.asked[text] += 1
            self.server.requests.append(request | {"authorization": self.headers["Authorization"]})
        if not isinstance(translation, str):
            return self._send(translation, status, headers)
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": translation}}
        read, written = sum(len(one["content"].split()) for one in request["messages"]), len(translation.split())
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}
        self._send(body | {"usage": usage} if status == 200 else {"error": {"message": translation}}, status, headers)

    def _send(self, reply: object, status: int, headers: dict[str, str]) -> None:
        data = json.dumps(reply).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


def _text_to_translate(content: str) -> str:
    asked = PROMPT.fullmatch(content)
    assert asked, content
    return asked[3]


@contextmanager
def serving(answer: Callable[[str, dict], tuple], read: Callable[[str], str] = _text_to_translate) -> Iterator[Server]:
    server = Server(answer, read)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
