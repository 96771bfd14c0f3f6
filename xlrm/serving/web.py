"""The paths of a reward server, its token and its errors. The only module that imports fastapi."""

import asyncio
import contextlib
import hmac
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, get_type_hints

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, Security
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from xlrm import __version__
from xlrm.serving import bodies, exchange
from xlrm.serving.exchange import ProblemAnswer
from xlrm.serving.metrics import CONTENT_TYPE
from xlrm.serving.service import Refused, Service

TOKEN = "XLRM_SERVE_TOKEN"
OPEN = ("/healthz", "/readyz", "/metrics", "/openapi.json")
"""Paths that need no token: they show the state of the server, and nothing of the texts of requests."""

# What is asked and answered

_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ProblemAnswer} for code in (401, 404, 413, 422, 429, 500, 503)
}
_TOKEN = Security(HTTPBearer(auto_error=False, description=f"Where the server was started with {TOKEN}."))


class Posted(APIRoute):
    """A path whose function takes a request's body (`asked`), the service and the request, and returns the answer.

    FastAPI would read and validate the body on the event loop: up to seconds for 8 MiB, in which no one is answered."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        kind = get_type_hints(self.endpoint)["asked"]

        async def handle(request: Request) -> Response:
            asked = await bodies.read(kind, await request.body(), request.headers.get("content-type", ""))
            answer = await self.endpoint(asked, _service(request), request)
            return Response(answer.model_dump_json(), media_type="application/json")

        return handle


router = APIRouter()
posted = APIRouter(route_class=Posted)


def _service(request: Request) -> Service:
    return request.app.state.service


Here = Annotated[Service, Depends(_service)]


@posted.post("/v1/rewards", responses=_REFUSALS, dependencies=[_TOKEN])
async def rewards(asked: exchange.RewardsRequest, service: Here, request: Request) -> exchange.RewardsAnswer:
    """Rewards of conversations, in their order: raw logits, equal to those of `xlrm score`."""
    values, usage = await _while_there(request, service.score(asked.model, chats=asked.conversations))
    data = [exchange.Reward(index=i, reward=reward) for i, reward in enumerate(values)]
    return exchange.RewardsAnswer(model=service.uri, data=data, usage=usage)


@posted.post("/classify", responses=_REFUSALS, dependencies=[_TOKEN])
async def classify(asked: exchange.TextRequest, service: Here, request: Request) -> exchange.ClassifyAnswer:
    """vLLM's /classify: `probs` holds the reward."""
    values, usage = await _of_text(asked, service, request)
    data = [exchange.Class(index=i, label=None, probs=[reward]) for i, reward in enumerate(values)]
    return exchange.ClassifyAnswer(model=service.uri, data=data, usage=usage)


@posted.post("/pooling", responses=_REFUSALS, dependencies=[_TOKEN])
async def pooling(asked: exchange.TextRequest, service: Here, request: Request) -> exchange.PoolingAnswer:
    """vLLM's /pooling: `data` holds the reward."""
    values, usage = await _of_text(asked, service, request)
    data = [exchange.Pooled(index=i, data=[reward]) for i, reward in enumerate(values)]
    return exchange.PoolingAnswer(model=service.uri, data=data, usage=usage)


async def _of_text(
    asked: exchange.TextRequest, service: Service, request: Request
) -> tuple[list[float], exchange.Usage]:
    chats = [asked.messages] if asked.messages else ()
    values, usage = await _while_there(request, service.score(asked.model, chats=chats, texts=asked.input))
    activated = asked.use_activation and service.loaded and service.loaded.sigmoid
    return [_sigmoid(value) for value in values] if activated else values, usage


@posted.post("/get_reward", responses=_REFUSALS, dependencies=[_TOKEN])
async def get_reward(asked: exchange.QueryRequest, service: Here, request: Request) -> exchange.QueryAnswer:
    """Rewards of a policy's responses, as OpenRLHF's remote reward model gives them."""
    values = await _while_there(request, service.score_queries(asked.query))
    return exchange.QueryAnswer(rewards=values, scores=values)


async def _while_there(request: Request, answering: Coroutine) -> Any:
    """The result of `answering`. If the client disconnects before, `answering` is cancelled, and ClientDisconnect is
    raised."""
    answer, gone = asyncio.create_task(answering), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _sigmoid(logit: float) -> float:
    small = math.exp(-abs(logit))
    return 1 / (1 + small) if logit >= 0 else small / (1 + small)


@router.get("/v1/models", dependencies=[_TOKEN], responses={401: {"model": ProblemAnswer}})
async def models(service: Here) -> exchange.Models:
    """Names by which a request may call the model."""
    length = service.loaded.scorer.max_length if service.loaded else service.scoring.max_length
    entries = [exchange.Model(id=name, created=service.started, max_model_len=length) for name in service.names]
    return exchange.Models(data=entries)


@router.get("/healthz", responses={503: {"model": exchange.State}})
async def healthz(service: Here, response: Response) -> exchange.State:
    """200 while the process works, also while it waits for its model or loads it; 503 if its last batch ended in an
    error."""
    response.status_code = 200 if service.healthy else 503
    return service.state(service.status if service.healthy else "failing")


@router.get("/readyz", responses={503: {"model": exchange.State}})
async def readyz(service: Here, response: Response) -> exchange.State:
    """200 while requests are accepted: the model is loaded, and the server was not asked to stop."""
    response.status_code = 200 if service.status == "ready" else 503
    return service.state(service.status)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Here) -> Response:
    """Metrics for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


# Errors, token, limits of a body


def _problem(code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    line = " ".join(message.split())
    answer = ProblemAnswer(error=exchange.Problem(message=line, type=HTTPStatus(code).phrase, code=code))
    return JSONResponse(answer.model_dump(), code, headers)


async def _refused(_: Request, error: Refused) -> JSONResponse:
    return _problem(error.status, error.message, error.headers)


async def _elsewhere(_: Request, error: StarletteHTTPException) -> JSONResponse:
    return _problem(error.status_code, error.detail, error.headers)


async def _left(_: Request, error: ClientDisconnect) -> Response:
    """An answer that nobody reads, since the client has gone; it is counted under 499, nginx's status for that."""
    return Response(status_code=499)


async def _broken(_: Request, error: Exception) -> JSONResponse:
    return _problem(500, f"{type(error).__name__} in the server; its log says more")


class Door:
    """Admits requests that have the token and a body that is not too large; counts and times the answers.

    It wraps the whole app, so that it sees the answers with status 500 too. FastAPI's own limit on bodies answers in
    plain text.
    """

    def __init__(self, app: Callable, service: Service, paths: frozenset[str]):
        self.app, self.service, self.paths = app, service, paths

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = partial(self._answered, scope["path"], time.perf_counter(), send)
        if refusal := self._refusal(scope["path"], dict(scope["headers"])):
            await refusal(scope, receive, answered)
        else:
            await self.app(scope, self._counted(receive), answered)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> JSONResponse | None:
        token, most = self.service.token, self.service.settings.max_body_bytes
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        named = scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), (token or "").encode())
        if token and path not in OPEN and not named:
            return _problem(
                401, "a request must contain the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"}
            )
        size = headers.get(b"content-length", b"0")
        return _problem(413, f"a body of {int(size)} bytes; at most {most}") if int(size) > most else None

    def _counted(self, receive: Callable) -> Callable:
        """Limits bodies that come in chunks and do not declare their length."""
        most, taken = self.service.settings.max_body_bytes, 0

        async def counted() -> dict:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, f"a body of more than {most} bytes")
            return message

        return counted

    async def _answered(self, path: str, begun: float, send: Callable, message: dict) -> None:
        if message["type"] == "http.response.start":
            known = path if path in self.paths else "other"
            self.service.metrics.requests.labels(known, message["status"]).inc()
            self.service.metrics.seconds.labels(known).observe(time.perf_counter() - begun)
            if self.service.stopping:  # so that the client sends its next request elsewhere
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)


def build(service: Service, ended: Callable[[], None] = lambda: None) -> Door:
    """The app of a server. `ended` is called when the model could not be loaded or has stopped answering."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.life = asyncio.create_task(service.live())
        service.life.add_done_callback(lambda _: ended())
        yield
        service.life.cancel()
        await asyncio.wait([service.life])

    app = FastAPI(
        title="xlrm reward server", version=__version__, description="Rewards of conversations by one reward model.",
        docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan,
        exception_handlers={
            Refused: _refused, StarletteHTTPException: _elsewhere, ClientDisconnect: _left, Exception: _broken,
        },
    )  # fmt: skip
    app.state.service = service
    for paths in (router, posted):
        app.include_router(paths)
    routes = (*router.routes, *posted.routes)
    known = frozenset(route.path for route in routes if isinstance(route, APIRoute)) | {"/openapi.json"}
    return Door(app, service, known)
