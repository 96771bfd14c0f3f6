"""A server on this machine that speaks OpenAI's chat completions and answers X-ALMA's prompt from a table."""

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

    def __init__(self, answer: Callable[[str, dict], tuple[str, str]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        """(text to translate, request) -> (translation, finish reason)"""
        self.asked: Counter[str] = Counter()
        """Texts, by how many times an answer was sent."""
        self.requests: list[dict] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Says nothing of who was killed while asking."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = PROMPT.fullmatch(request["messages"][-1]["content"])[3]
        translation, reason = self.server.answer(text, request)
        with self.server.lock:
            self.server.asked[text] += 1
            self.server.requests.append(request | {"authorization": self.headers["Authorization"]})
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": translation}}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}
        data = json.dumps(body).encode()
        self.send_response(200 if reason != "error" else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(answer: Callable[[str, dict], tuple[str, str]]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
