"""The reward server, as a process of its own on a free port: rewards, batches, limits, token, metrics, how it stops."""

import http.client
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from reward_server import Server, new_model, started, until
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.models import chat_templates, loading, vllm_engine
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.tracking import mlflow_registry, mlflow_runs

CHATS = [
    chat_templates.conversation("How much is one plus two?", "Three."),
    [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Let me see."}],
    chat_templates.conversation("What color is snow?", "White, " * 30),
    chat_templates.conversation(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "눈은?"}], "하얗다."
    ),
]
PAIR = {"prompt": "How much is one plus two?", "response": "Three."}


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory) -> Path:
    return new_model(tiny_base, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def expected(model) -> list[float]:
    return engines.load(model, Scoring()).score(CHATS)


@pytest.fixture(scope="module")
def server(model) -> Iterator[Server]:
    """With small limits."""
    limits = ("max_conversations=8", "max_characters=2000", "max_body_bytes=20000", "drain_seconds=0.5")
    with started(model, *limits) as found:
        yield found


def test_rewards_are_those_of_score_and_in_order(server, expected) -> None:
    answer = server.post("/v1/rewards", {"model": None, "conversations": CHATS[:3] + CHATS}).json()
    assert [one["index"] for one in answer["data"]] == list(range(7))
    assert [one["reward"] for one in answer["data"]] == pytest.approx(expected[:3] + expected, abs=1e-5)
    tokenizer = loading.load_tokenizer(answer["model"])
    tokens = sum(len(ids) for ids in chat_templates.encode(tokenizer, CHATS[:3] + CHATS, 2048))
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    pairs = [PAIR, {"prompt": CHATS[3][:2], "response": CHATS[3][2]["content"]}]
    assert server.rewards(pairs) == pytest.approx([expected[0], expected[3]], abs=1e-5)


def test_requests_that_come_together_are_scored_together(server, expected) -> None:
    before = {name: server.metric(name) for name in ("xlrm_conversations_total", "xlrm_batch_seconds_count")}
    with ThreadPoolExecutor(16) as clients:
        found = list(clients.map(lambda i: server.rewards([CHATS[i % 4]]), range(64)))
    assert [one for (one,) in found] == pytest.approx(expected * 16, abs=1e-5)
    scored = server.metric("xlrm_conversations_total") - before["xlrm_conversations_total"]
    batches = server.metric("xlrm_batch_seconds_count") - before["xlrm_batch_seconds_count"]
    assert scored == 64 and batches <= 40, f"{batches:.0f} batches"
    assert server.metric("xlrm_waiting_conversations") == 0


def test_vllms_paths(server, model, expected) -> None:
    tokenizer = loading.load_tokenizer(model)
    texts = tokenizer.apply_chat_template(CHATS, tokenize=False)
    body = server.post("/classify", {"model": str(model), "input": texts}).json()
    assert body["id"].startswith("classify-") and body["object"] == "list" and body["model"] == str(model)
    assert [one["probs"][0] for one in body["data"]] == pytest.approx(expected, abs=1e-5)
    assert {(one["num_classes"], one["label"]) for one in body["data"]} == {(1, None)}
    pooled = server.post("/pooling", {"messages": CHATS[1], "user": "me"}).json()
    assert pooled["data"][0]["object"] == "pooling" and pooled["id"].startswith("pool-")
    assert pooled["data"][0]["data"] == pytest.approx([expected[1]], abs=1e-5)
    activated = server.post("/classify", {"input": texts[0], "use_activation": True}).json()["data"][0]["probs"][0]
    assert activated == pytest.approx(expected[0], abs=1e-5), "vLLM applies nothing to a model for regression"
    assert [one["id"] for one in server.get("/v1/models").json()["data"]] == [str(model)]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/rewards", "{", 422, "body: not JSON at character 1"),
        ("/v1/rewards", '"\udcff"', 422, "body: not JSON in UTF-8"),
        ("/v1/rewards", "[" * 9000 + "]" * 9000, 422, "or nested too deeply"),
        ("/v1/rewards", "[1]", 422, "body: a JSON object"),
        ("/v1/rewards", {"conversations": []}, 422, "conversations: List should have at least 1 item"),
        ("/v1/rewards", {"conversations": [PAIR], "temperature": 1}, 422, "temperature: Extra inputs"),
        ("/v1/rewards", {"conversations": [PAIR, {"prompt": "p"}]}, 422, "conversations.1: ['prompt']: a row needs {"),
        (
            "/v1/rewards",
            {"conversations": [{"a": 1}] * 1500},
            422,
            "conversations.0: ['a']: a row needs {",
        ),
        (
            "/v1/rewards",
            {"conversations": [PAIR | {"prompt": 1}]},
            422,
            "conversations.0: prompt=1: a text or a list of at least one message",
        ),
        ("/v1/rewards", {"conversations": [PAIR], "k" * 9000: 1}, 422, "k" * 200 + ": Extra inputs"),
        (
            "/v1/rewards",
            {"conversations": [[{"role": "user", "content": "x"}]]},
            422,
            "conversations.0: role='user': the last message",
        ),
        (
            "/v1/rewards",
            {"conversations": [[{"role": "user"}]]},
            422,
            "conversations.0: messages={'role': 'user'}: a message needs",
        ),
        ("/v1/rewards", '{"conversations": [{"prompt": "\\ud800", "response": "r"}]}', 422, "half of a surrogate pair"),
        ("/v1/rewards", {"model": "other", "conversations": [PAIR]}, 404, "model: 'other' is not served here"),
        ("/v1/rewards", {"conversations": [PAIR] * 9}, 413, "9 conversations; in a request at most 8"),
        ("/v1/rewards", {"conversations": [PAIR, PAIR | {"response": "r" * 2001}]}, 413, "conversation 1: 2039 char"),
        ("/v1/rewards", {"conversations": [[{"role": "r" * 2001, "content": ""}, CHATS[1][1]]]}, 413, "0: 2021 char"),
        ("/v1/rewards", {"conversations": [PAIR | {"response": "r" * 20_000}]}, 413, "bytes; at most 20000"),
        ("/v1/rewards", {"conversations": [1]}, 422, "conversations.0: a list of messages, or a row with"),
        ("/get_reward", {"query": []}, 422, "query: List should have at least 1 item"),
        ("/get_reward", {"prompts": ["x"]}, 422, "query: Field required"),
        ("/get_reward", {"query": ["x", "\ud800"]}, 422, "query.1: half of a surrogate pair"),
        ("/get_reward", {"query": ["Hello."]}, 422, "query.0: no assistant's turn begins in the text"),
        ("/classify", {"input": []}, 422, "either input, a text or texts, or messages"),
        ("/classify", {"input": ["a", ""]}, 422, "input: a text is not empty"),
        ("/pooling", {"input": "x", "messages": CHATS[0]}, 422, "either input"),
        ("/nosuch", {}, 404, "Not Found"),
        ("/v1/rewards/", {}, 404, "Not Found"),
    ],
)
def test_what_is_refused_is_one_line(server, path, body, status, message) -> None:
    answer = server.post(path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, status), answer.text
    assert message in error["message"] and "\n" not in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.slow
def test_a_connection_is_kept_for_longer_than_five_seconds(server) -> None:
    """uvicorn's default, and so do clients keep theirs."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    for pause in (0, 5.5):
        time.sleep(pause)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
    connection.close()


def test_a_kept_connection_is_not_slower_than_new_ones(server) -> None:
    """Without TCP_NODELAY, each answer over a kept one waits 40 ms for the client's delayed acknowledgement."""

    def least_seconds(ask: Callable[[], object]) -> float:
        taken = []
        for _ in range(11):
            begun = time.perf_counter()
            ask()
            taken.append(time.perf_counter() - begun)
        return min(taken)

    def ask_over_a_new_one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        body = json.dumps({"conversations": [PAIR]})
        connection.request("POST", "/v1/rewards", body, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
        connection.close()

    server.rewards([PAIR])
    assert least_seconds(lambda: server.rewards([PAIR])) < least_seconds(ask_over_a_new_one) + 0.02


def test_a_body_in_chunks_is_limited_too(server) -> None:
    answer = server.client.post("/v1/rewards", content=(b"x" * 1000 for _ in range(30)))
    assert answer.status_code == 413 and "more than 20000 bytes" in answer.json()["error"]["message"]


def test_metrics_say_what_is_served_and_how_requests_went(server, model) -> None:
    server.rewards([PAIR])
    server.post("/v1/rewards", {"conversations": []})
    server.get("/nosuch/path")
    state = server.get("/readyz").json()
    assert state["status"] == "ready" and state["version"] is None and len(state["digest"]) == 64
    told = server.get("/metrics").text
    assert f'digest="{state["digest"]}",engine="transformers",model="{model}",precision="float32",version=""' in told
    for status in (200, 422):
        assert f'xlrm_requests_total{{path="/v1/rewards",status="{status}"}}' in told
    assert 'xlrm_requests_total{path="other",status="404"}' in told and "/nosuch" not in told
    assert 'xlrm_request_seconds_bucket{le="0.1",path="/v1/rewards"}' in told
    assert "xlrm_ready 1.0" in told and "xlrm_tokens_total" in told


def test_openapi_describes_what_is_asked_and_answered(server) -> None:
    document = server.get("/openapi.json").json()
    paths = {"/v1/rewards", "/v1/models", "/classify", "/pooling", "/get_reward", "/healthz", "/readyz", "/metrics"}
    assert set(document["paths"]) == paths and document["openapi"].startswith("3.1")
    assert document["paths"]["/v1/rewards"]["post"]["security"] == [{"HTTPBearer": []}]

    def valid(value: object, name: str) -> bool:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator.check_schema(schema)
        return Draft202012Validator(schema).is_valid(value)

    asked = {"conversations": [PAIR, CHATS[1]]}
    assert valid(asked, "RewardsRequest") and not valid({"conversations": [{"prompt": "p"}]}, "RewardsRequest")
    assert valid(server.post("/v1/rewards", asked).json(), "RewardsAnswer")
    assert valid(server.post("/classify", {"input": "x"}).json(), "ClassifyAnswer")
    assert valid(server.post("/pooling", {"input": "x"}).json(), "PoolingAnswer")
    assert valid(server.post("/pooling", {}).json(), "ProblemAnswer") and not valid({}, "ProblemAnswer")
    assert valid(server.get("/v1/models").json(), "Models") and valid(server.get("/healthz").json(), "State")
    assert server.get("/docs").status_code == 404, "no page that loads scripts from elsewhere"


def test_who_goes_away_is_not_computed_for(model, expected) -> None:
    """What others asked meanwhile is."""
    with started(model, "wait_ms=1000") as server:
        body = json.dumps({"conversations": CHATS}).encode()
        head = f"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        port = int(server.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as gone, ThreadPoolExecutor(1) as others:
            gone.sendall(head.encode() + body)
            until(lambda: server.metric("xlrm_waiting_conversations") == 4, server.lines, 0.9)
            other = others.submit(server.rewards, [CHATS[1]])
            until(lambda: server.metric("xlrm_waiting_conversations") == 5, server.lines, 0.9)
            gone.close()
            until(lambda: server.metric("xlrm_waiting_conversations") == 1, server.lines, 0.9)
            assert other.result() == pytest.approx([expected[1]], abs=1e-5)
        assert server.metric("xlrm_conversations_total") == 1
        assert 'xlrm_requests_total{path="/v1/rewards",status="499"} 1.0' in server.get("/metrics").text


@pytest.mark.skipif(
    subprocess.run(["unshare", "-Urpf", "true"], capture_output=True).returncode != 0, reason="no PID namespace here"
)
def test_as_a_containers_first_process_it_ends_at_once_while_loading(model) -> None:
    under = ("unshare", "-Urpf", "--mount-proc", "--kill-child")
    with started(model, ready=False, under=under) as server:
        assert server.get("/readyz").json()["status"] == "loading"
        outside = server.process.pid
        (inside,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        os.kill(int(inside), signal.SIGTERM)
        assert server.process.wait(4) == 128 + signal.SIGTERM


def with_head(model: Path, folder: Path, head: torch.Tensor) -> Path:
    """The model with another head: a row of its states' width."""
    shutil.copytree(model, folder)
    weights = load_file(model / "model.safetensors")
    save_file(weights | {"score.weight": head[None]}, folder / "model.safetensors", {"format": "pt"})
    return folder


def last_state(model: Path, chat: list[dict]) -> torch.Tensor:
    """State of the last token, which the head reads."""
    scorer = engines.load(model, Scoring())
    with torch.inference_mode():
        return scorer.network.model(input_ids=torch.tensor(scorer.encode([chat]))).last_hidden_state[0, -1].clone()


def test_a_reward_that_is_no_number_is_an_error(model, tmp_path) -> None:
    state = last_state(model, CHATS[3])
    overflows = state * (3.6e38 / float(state @ state))  # just above float32 for that conversation, below it for others
    with started(with_head(model, tmp_path / "large", overflows)) as server:
        answer = server.post("/v1/rewards", {"conversations": [PAIR, CHATS[3]]})
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "conversation 1: the model's reward is not a number"
        assert all(map(math.isfinite, server.rewards([PAIR])))
    heads = {
        "a reward is not a finite number": torch.full_like(state, 3e38),
        "score.weight[0, 0]=nan": state * math.nan,
    }
    for place, (message, head) in enumerate(heads.items()):
        result = CliRunner().invoke(app, ["serve", "--port", "0", str(with_head(model, tmp_path / str(place), head))])
        assert result.exit_code == 2 and message in result.output


@pytest.mark.slow
def test_a_registered_model_with_a_token_that_stops_gracefully(model, expected) -> None:
    """Ready only when loaded, named by its version, closed to whoever lacks the token, and SIGTERM loses nothing."""
    with mlflow_runs.run("test", "register", {}, {}) as opened:
        number = mlflow_registry.add_version("xlrm-served", [model], {"digest": "abc"}, "", opened)
    mlflow_registry.set_alias("xlrm-served", number, "champion")
    token = {"headers": {"Authorization": "Bearer s3cret"}}
    settings = ("models:/xlrm-served@champion", "drain_seconds=1", "wait_ms=1000", "max_waiting=20")
    with started(*settings, ready=False, XLRM_SERVE_TOKEN="s3cret") as server:
        assert server.get("/healthz").status_code == 200
        answer = server.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        refused = server.post("/v1/rewards", {"conversations": [PAIR]}, **token)
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "5"
        until(lambda: server.get("/readyz").status_code == 200, server.lines)
        assert server.get("/readyz").json()["version"] == "1"
        for wrong in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            answer = server.post("/v1/rewards", {"conversations": [PAIR]}, headers=wrong)
            assert (answer.status_code, "token" in answer.json()["error"]["message"]) == (401, True)
        any_case = {"Authorization": "bearer  s3cret"}
        assert server.client.get("/v1/models", headers=any_case).status_code == 200
        asked = {"model": "xlrm-served", "conversations": CHATS}
        with ThreadPoolExecutor(5) as clients:
            answers = [clients.submit(server.post, "/v1/rewards", asked, **token) for _ in range(4)]
            until(lambda: server.metric("xlrm_waiting_conversations") == 16, server.lines)
            full = server.post("/v1/rewards", {"conversations": CHATS * 2}, **token)
            assert (full.status_code, full.headers["Retry-After"]) == (429, "1")
            assert "16 conversations wait and 8 more are asked; at most 20 wait" in full.json()["error"]["message"]
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.get("/readyz").status_code == 503, server.lines, 0.9)
            assert not any(one.done() for one in answers), (
                "they wait for others, and are not answered before the signal"
            )
            late = clients.submit(server.post, "/v1/rewards", asked, **token)
            for answer in [*answers, late]:
                rewards = [one["reward"] for one in answer.result().json()["data"]]
                assert rewards == pytest.approx(expected, abs=1e-5)
        assert late.result().headers["connection"] == "close" and server.process.wait(30) == 0
    assert not any("s3cret" in line for line in server.lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models:/nosuch@champion",), "models:/nosuch@champion: no such registered model"),
        (("/nosuch/model",), "/nosuch/model"),
        (("x", "--engine", "other"), "engine='other': Input should be 'transformers' or 'vllm'"),
        (("x", "max_waiting=0"), "max_waiting=0: Input should be greater than or equal to 1"),
        (("x", "max_wait=1"), "max_wait=1: Extra inputs are not permitted; there are wait_ms,"),
        (("x", "--host", "203.0.113.1"), "--host, --port=('203.0.113.1', 0)"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments, message) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert result.exit_code == 2 and message in result.output, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("token", [" ", "s3cret\n", "s3crèt", "s3cr\udcff"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token, monkeypatch) -> None:
    monkeypatch.setenv("XLRM_SERVE_TOKEN", token)
    result = CliRunner().invoke(app, ["serve", "--port", "0", "x"])
    assert result.exit_code == 2 and "XLRM_SERVE_TOKEN: printable ASCII characters" in result.output
    assert "s3cr" not in result.output


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_an_engine_that_is_not_installed_is_one_line(model) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", str(model), "--engine", "vllm"])
    assert result.exit_code == 2
    assert re.search("engine: vllm needs vllm, which is not installed; .*pip install .*sample", result.output)
    assert vllm_engine._OWNER not in os.environ, "processes of later trainings would take this one for their vLLM's"
