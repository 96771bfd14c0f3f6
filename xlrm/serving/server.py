"""A reward model behind HTTP: one process, one model, resolved when it starts. The only module that imports uvicorn.

`web` has the paths, `exchange` the requests and answers, `service` the model and the limits, `batching` the queue in
front of the thread that owns the model, `metrics` the Prometheus metrics. After SIGTERM the server is not ready, but
answers for `drain_seconds` until clients have noticed; then it accepts no more connections, answers what it has
accepted, and ends.
"""

import math
import os
import signal
import socket
import time
from typing import Any

import uvicorn

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.serving.service import Service, Settings
from xlrm.serving.web import TOKEN, build

__all__ = ["Service", "Settings", "serve"]


IDLE_SECONDS = 75
"""How long an idle connection is kept: longer than load balancers keep theirs (usually 60), because the side that
closes first may do so just as the other sends a request."""


class _Server(uvicorn.Server):
    """Ends as a Kubernetes Service needs it: first not ready, then accepting no connections, then gone."""

    service: Service
    deaf_at = math.inf

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self.service.batcher is None and not self.service.stopping:  # loading: nobody waits for an answer
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            os._exit(128 + sig)  # for the first process of a container, which a signal's default action does not end
        again, self.service.stopping = self.service.stopping, True
        wait = 0 if again or sig == signal.SIGINT else self.service.settings.drain_seconds
        self.deaf_at = min(self.deaf_at, time.monotonic() + wait)

    async def on_tick(self, counter: int) -> bool:
        self.should_exit |= time.monotonic() >= self.deaf_at
        return await super().on_tick(counter)


def _token() -> str | None:
    """The token, if one is set. Raises ConfigError, without showing it, for a token that no header can carry."""
    token = os.environ.get(TOKEN) or None
    if token and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ConfigError("printable ASCII characters without white space around them are allowed", where=TOKEN)
    return token


def serve(service: Service, host: str, port: int) -> None:
    """Serves until a signal ends it. Raises ConfigError for an address that is in use, and the errors of loading the
    model."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    except OSError as error:
        raise ConfigError(
            f"{error.strerror or error}", where="--host, --port", value=(host, port), hint="choose another address"
        ) from error
    service.token = _token()
    app = build(service, ended=lambda: setattr(server, "should_exit", True))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=60, http="h11",
        ws="none", timeout_keep_alive=IDLE_SECONDS,
    )  # fmt: skip
    server = _Server(config)
    server.service = service
    shown, guarded = listener.getsockname()[1], "with a token" if service.token else f"without a token ({TOKEN})"
    progress.say(f"listening on http://{f'[{host}]' if ':' in host else host}:{shown}, {guarded}")
    server.run(sockets=[listener])
    if service.life and not service.life.cancelled() and (failure := service.life.exception()):
        raise failure
