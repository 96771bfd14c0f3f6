"""Prometheus metrics of a reward server. The only module that imports prometheus_client."""

from typing import Any

import prometheus_client as prometheus

CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of a server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        here: dict[str, Any] = {"registry": self.registry}
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
        self.requests = prometheus.Counter("xlrm_requests", "Requests answered.", ["path", "status"], **here)
        self.seconds = prometheus.Histogram("xlrm_request_seconds", "From headers to answer.", ["path"], **here)
        self.conversations = prometheus.Counter("xlrm_conversations", "Conversations scored.", **here)
        self.tokens = prometheus.Counter("xlrm_tokens", "Tokens scored.", **here)
        self.batch = prometheus.Histogram(
            "xlrm_batch_conversations", "Conversations scored together.", buckets=sizes, **here
        )
        self.batch_seconds = prometheus.Histogram("xlrm_batch_seconds", "Time a batch took.", **here)
        self.waiting = prometheus.Gauge("xlrm_waiting_conversations", "Taken and not answered yet.", **here)
        self.ready = prometheus.Gauge("xlrm_ready", "1 while the server accepts requests.", **here)
        self.model = prometheus.Gauge(
            "xlrm_model_info", "1; its labels say what is served.",
            ["model", "version", "digest", "engine", "precision"], **here,
        )  # fmt: skip

    def batch_done(self, conversations: int, tokens: int, seconds: float) -> None:
        self.conversations.inc(conversations)
        self.tokens.inc(tokens)
        self.batch.observe(conversations)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        return prometheus.generate_latest(self.registry)
