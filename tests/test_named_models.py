"""A model by each form of its name gives the rewards that plain transformers computes from its folder; what a name stands
for counts for artifacts; what names no model is one line."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pandas
import pytest
import torch
from huggingface_hub import constants
from phrasebook_settings import sections
from refusals import refused
from safetensors import SafetensorError, safe_open
from test_classifiers import CHATS, llama, scorer, tokenizer
from test_hub import COMMIT, Hub
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification
from typer.testing import CliRunner

from pipelines import changes
from xlrm.cli import app
from xlrm.errors import ArtifactError, ConfigError
from xlrm.evaluation import reward_table
from xlrm.models import base_models, reward_models
from xlrm.models.cards import BaseModelCard
from xlrm.run import experiment, scoring_commands
from xlrm.run.runner import run_stage
from xlrm.scorers.interface import Scoring
from xlrm.serving.service import Service
from xlrm.stages import represent
from xlrm.store import artifacts
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.tracking import mlflow_registry, mlflow_runs, named_models

FORMS = ("folder", "relative", "artifact", "alias", "version", "s3", "hub", "commit")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A scalar reward model with random weights, large enough for rewards that differ."""
    folder = tmp_path / "model"
    torch.manual_seed(5)
    config = llama(len(tokenizer(folder)), pad_token_id=4, num_labels=1, initializer_range=0.3)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def plain(folder: Path) -> list[float]:
    """Rewards of CHATS by transformers alone, one conversation at a time."""
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return [
            network(**tokens.apply_chat_template(chat, return_tensors="pt", return_dict=True)).logits.item()
            for chat in CHATS
        ]


def register(folder: Path) -> str:
    """Registers a folder as the next version of xlrm-test, and makes it the champion."""
    with mlflow_runs.run("test", "register", {}, {}) as opened:
        tags = {"digest": artifacts.digest_directory(folder)[0]}
        number = mlflow_registry.add_version("xlrm-test", [folder], tags, "A model.", opened)
    mlflow_registry.set_alias("xlrm-test", number, "champion")
    return number


@pytest.fixture
def on_hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A Hub on which me/model has the model's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.model, server.sent = model, []
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()


@pytest.fixture
def named(model: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model by the form that a test is parametrised with."""
    form = request.param
    if form in ("alias", "version"):
        number = register(model)
        return "models:/xlrm-test@champion" if form == "alias" else f"models:/xlrm-test/{number}"
    if form == "s3":
        return in_bucket(model, request.getfixturevalue("s3_store"))
    if form in ("hub", "commit"):
        request.getfixturevalue("on_hub")
        return "me/model" if form == "hub" else f"me/model@{COMMIT}"
    if form == "relative":
        monkeypatch.chdir(model.parent)
        return model.name
    return run_stage("base", {"model": str(model)}, {}).uri if form == "artifact" else str(model)


def in_bucket(folder: Path, store) -> str:
    for path in folder.iterdir():
        put(store, path.name, path.read_bytes())
    put(store, "original/params.json", b"no file of the model")
    return f"{store.uri}/mine"


def put(store, name: str, data: bytes) -> None:
    store.client.put_object(**store._name(f"{store.uri}/mine/{name}"), Body=data)


every_form = pytest.mark.parametrize("named", FORMS, indirect=True)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@every_form
def test_every_form_gives_the_rewards_of_plain_transformers(named: str, model: Path, tmp_path: Path) -> None:
    expected = plain(model)
    assert max(expected) - min(expected) > 0.1
    write_jsonl(tmp_path / "in.jsonl", [{"messages": chat} for chat in CHATS])
    scored = run("score", "--model", named, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert scored.exit_code == 0, scored.output
    assert [row["reward"] for row in read_rows(tmp_path / "out.jsonl", ("reward",))] == pytest.approx(
        expected, abs=1e-5
    )
    assert scorer(f"mine={named}").score(CHATS) == pytest.approx(expected, abs=1e-5)
    assert reward_models.find(named).version() == named_models.version(named)
    record = run_stage("base", {"model": named}, {})
    folder = artifacts.fetch(record.uri, tmp_path / "cache")
    assert plain(folder) == expected, "the same bytes"
    assert record.record.metrics["bytes"] == (model / "model.safetensors").stat().st_size
    assert not (folder / "original").exists()


@every_form
def test_a_name_is_found_again_until_it_stands_for_something_else(named: str, model: Path, s3_store, request) -> None:
    first = run_stage("base", {"model": named}, {})
    assert run_stage("base", {"model": named}, {}) == first
    before = named_models.version(named)
    torch.manual_seed(6)
    config = llama(len(AutoTokenizer.from_pretrained(model)), pad_token_id=4, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(model)
    if "alias" in request.node.name:
        register(model)
    elif named.startswith("s3://") and "mine" in named:
        put(request.getfixturevalue("s3_store"), "model.safetensors", (model / "model.safetensors").read_bytes())
    moves = any(form in request.node.name for form in ("folder", "relative", "alias", "s3"))
    assert (named_models.version(named) != before) == moves
    again = run_stage("base", {"model": named}, {})
    assert (again.uri != first.uri) == moves


@pytest.mark.parametrize("named", ["folder", "s3", "hub", "commit"], indirect=True)
def test_evaluate_and_serve_take_any_model(named: str, model: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "1", "prompt": "How far is the moon?", "chosen": "Far.", "rejected": "I do not know.", "subset": "a"}
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    evaluated = run("evaluate", "--model", named, "--benchmark", tmp_path / "pairs.jsonl", "--output", tmp_path / "out")
    assert evaluated.exit_code == 0, evaluated.output
    expected = plain(model)
    table = pandas.read_parquet(next((tmp_path / "out").glob(f"*/{reward_table.FILE}")))
    rewards = dict(zip(table["side"], table["reward"], strict=True))
    assert rewards == {"chosen": pytest.approx(expected[0], abs=1e-5), "rejected": pytest.approx(expected[2], abs=1e-5)}
    served = Service(named, lambda: scoring_commands.model_folder(named), Scoring())
    assert served._load(served.fetch()).scorer.score(CHATS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("named", ["folder", "alias", "hub"], indirect=True)
def test_a_stage_takes_a_model_by_its_name(named: str, model: Path, tmp_path: Path, home: Path) -> None:
    """The model becomes an artifact, which the record of the stage names as its input."""
    rows = [{"id": "1", "prompt": "How far?", "chosen": "Far.", "rejected": "Why?", "subset": "a", "section": "Chat"}]
    write_jsonl(tmp_path / "corpora" / "en" / "benchmark.jsonl", rows)
    facts = run_stage("base", {"model": str(model)}, {}).record.model_dump(exclude={"digest", "files", "key"})
    corpora = f"{(home / 'store').as_uri()}/curate/mine"
    artifacts.publish(tmp_path / "corpora", corpora, key="mine", **facts)
    made = run_stage("evaluate", {"languages": ["en"]}, {"model": named, "corpora": corpora})
    (given,) = made.record.inputs["model"]
    assert "/base/" in given.uri and artifacts.load(given.uri).digest == given.digest
    with refused(ArtifactError, "evaluate.model: base.model: /nosuch"):
        run_stage("evaluate", {"languages": ["en"]}, {"model": "/nosuch", "corpora": corpora})


@every_form
def test_a_base_says_where_it_comes_from(named: str, tmp_path: Path) -> None:
    folder = artifacts.fetch(run_stage("base", {"model": named}, {}).uri, tmp_path / "cache")
    card = BaseModelCard.read(folder)
    if named.startswith("me/model"):
        assert (card.model, card.revision) == ("me/model", COMMIT)
    elif named.startswith("models:/"):
        assert (card.model, card.revision) == ("models:/xlrm-test/1", None)
    else:
        assert card.revision is None


def test_a_copy_of_a_base_keeps_its_first_name(model: Path, tmp_path: Path) -> None:
    BaseModelCard(model="meta-llama/Llama-3.2-3B-Instruct", revision="abc").write(model)
    folder = artifacts.fetch(run_stage("base", {"model": str(model)}, {}).uri, tmp_path / "cache")
    assert BaseModelCard.read(folder).model == "meta-llama/Llama-3.2-3B-Instruct"


@every_form
def test_the_embeddings_of_any_model_are_compared(named: str, model: Path) -> None:
    from xlrm.analysis import embedding_norms

    texts = {"en": ["aaa", "bb"], "es": ["ccc"]}
    sets = embedding_norms.TokenSets()
    assert embedding_norms.norms(named, texts, sets) == embedding_norms.norms(str(model), texts, sets)
    config = represent.Config(norm_models=(named,))
    assert named_models.version(named) in (represent.files(config), represent.fingerprint(config)) or named in (
        str(model), model.name,
    )  # fmt: skip


@every_form
def test_the_size_of_any_model_is_read_without_its_weights(named: str, model: Path, request) -> None:
    assert named_models.config(named) == json.loads((model / "config.json").read_text())
    if "hub" in request.node.name:
        assert set(request.getfixturevalue("on_hub").sent) == {"config.json"}


def test_what_a_submitted_experiment_names_is_pinned(model: Path, on_hub, tmp_path: Path) -> None:
    number = register(model)
    for name, expected in (
        ("models:/xlrm-test@champion", {"model": f"models:/xlrm-test/{number}"}),
        ("me/model", {"revision": COMMIT}),
        (f"me/model@{COMMIT}", {"model": "me/model", "revision": COMMIT}),
        (str(model), {}),
    ):
        config = experiment.stage_config("base", {"model": name})
        before = config.model_dump(mode="json")
        pins = {key: value for key, value in changes._pins(config, []).items() if value != before[key]}
        assert pins == expected
        assert experiment.stage_config("base", before | pins), "a pinned experiment is one, too"


# What is no model


def broken(model: Path, what: str) -> Path:
    if what == "no config":
        (model / "config.json").unlink()
    elif what == "no weights":
        (model / "model.safetensors").unlink()
    elif what == "pickled":
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
    elif what == "a shard is missing":
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
    elif what == "no tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (model / name).unlink(missing_ok=True)
    return model


WRONG = ("no config", "no weights", "pickled", "a shard is missing", "no tokenizer")


@pytest.mark.parametrize("what", WRONG)
def test_a_folder_that_is_no_model_is_one_line(what: str, model: Path, tmp_path: Path) -> None:
    broken(model, what)
    with refused(ArtifactError, f"base.model: {model}"):
        run_stage("base", {"model": str(model)}, {})
    write_jsonl(tmp_path / "in.jsonl", [{"messages": CHATS[0]}])
    result = run("score", "--model", model, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 2 and f"error: {model}: " in result.output and "Traceback" not in result.output
    with refused(ArtifactError, model):
        scorer(str(model))


def test_pickles_are_named(model: Path) -> None:
    with refused(ArtifactError, model) as raised:
        named_models.folder(str(broken(model, "pickled")))
    assert "pytorch_model.bin" in raised.value.message


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("/nosuch/model", ArtifactError, None),
        ("./nosuch", ArtifactError, None),
        ("file:///nosuch/model", ArtifactError, None),
        ("models:/nosuch@champion", ArtifactError, None),
        ("models:/nosuch", ConfigError, "models:/nosuch"),
        ("no such model", ConfigError, "no such model"),
        ("https://example.org/model", ConfigError, "https://example.org/model"),
        ("a/b/c", ConfigError, "a/b/c"),
        ("~nobodyhere/model", ArtifactError, None),
        ("/" + "a" * 5000, ArtifactError, None),
        ("a" * 5000, ConfigError, "a" * 5000),
        ("me/model@", ConfigError, "me/model@"),
        ("file://store/model", ConfigError, "file://store/model"),
        ("s3://", ConfigError, "s3://"),
        ("", ConfigError, ""),
    ],
)
def test_a_name_of_nothing_is_one_line(name: str, kind: type, value: str | None, tmp_path: Path) -> None:
    where = "" if value is not None else name.removeprefix("./")
    with refused(kind, where, value):
        named_models.folder(name)
    with refused(kind, f"base.model: {where}" if where else "base.model", value):
        run_stage("base", {"model": name}, {})
    write_jsonl(tmp_path / "in.jsonl", [{"messages": CHATS[0]}])
    result = run("score", "--model", name, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1


def test_a_prefix_and_a_repository_of_nothing(s3_store, on_hub) -> None:
    with refused(ArtifactError, f"{s3_store.uri}/nosuch"):
        named_models.folder(f"{s3_store.uri}/nosuch")
    with refused(ArtifactError, "me/nosuch"):
        named_models.folder("me/nosuch")


@pytest.mark.parametrize("name", ["me/model@v1", "/a/folder", "models:/a@champion", "phrasebook-tiny"])
def test_a_revision_belongs_to_a_model_of_the_hub_and_is_given_once(name: str) -> None:
    with refused(ConfigError, "base.revision", "v2"):
        run_stage("base", {"model": name, "revision": "v2"}, {})


def test_an_experiment_with_a_name_of_no_form_is_refused_when_it_is_loaded() -> None:
    raw = {"name": "x", **sections(base={"model": "no such model"})}
    with refused(ConfigError, "x.yaml: base.model", "no such model"):
        experiment.build(raw, {}, "x.yaml")
    experiment.build({"name": "x", **sections(base={"model": "/only/in/the/pod"})}, {}, "x.yaml")


@pytest.mark.parametrize(
    ("entry", "name", "repository", "revision"),
    [
        ("models:/xlrm-en@champion", "xlrm-en-champion", "models:/xlrm-en@champion", None),
        ("mine=models:/xlrm-en/3", "mine", "models:/xlrm-en/3", None),
        ("s3://bucket/prefix/", "prefix", "s3://bucket/prefix/", None),
        ("mine=s3://bucket/a=b@c", "mine", "s3://bucket/a=b@c", None),
        ("/models/a@b", "a", "/models/a", "b"),
        ("served=/models/a@b", "a", "/models/a", "b"),
        ("armorm=models:/armorm@champion", "armorm", "models:/armorm@champion", None),
    ],
)
def test_entries_of_external_name_any_model(entry: str, name: str, repository: str, revision: str | None) -> None:
    row = reward_models.find(entry)
    assert (row.name, row.repository, row.revision) == (name, repository, revision)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a=b@c"
    folder.mkdir()
    with refused(ConfigError, "", str(folder)):  # no name of a folder of results: NAME= gives one
        reward_models.find(str(folder))
    assert reward_models.find(f"mine={folder}").repository == str(folder)


def test_a_base_of_the_table_is_known_at_any_revision() -> None:
    name = "Qwen/Qwen2.5-3B-Instruct"
    assert base_models.context(f"{name}@abc") == base_models.context(name) == 32_768


def test_named_templates_are_copied_too(model: Path, tmp_path: Path) -> None:
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    before = named_models.version(str(model))
    folder = artifacts.fetch(run_stage("base", {"model": str(model)}, {}).uri, tmp_path / "cache")
    assert (folder / "additional_chat_templates" / "tools.jinja").is_file()
    (model / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    assert named_models.version(str(model)) != before
    shutil.rmtree(model / "additional_chat_templates")


NOT_WHOLE = (
    "cut",
    "no header",
    "a page",
    "an adapter",
    "shards without an index",
    "an index of nothing",
    "an index of numbers",
)


def spoiled(model: Path, what: str) -> Path:
    weights, index = model / "model.safetensors", model / "model.safetensors.index.json"
    if what in ("cut", "no header", "a page"):
        whole = weights.read_bytes()
        weights.write_bytes({"cut": whole[:-4], "no header": whole[:50], "a page": b"<html>not found</html>"}[what])
    elif what == "an adapter":
        weights.rename(model / "adapter_model.safetensors")
    elif what == "shards without an index":
        weights.rename(model / "model-00001-of-00002.safetensors")
    else:
        index.write_text(json.dumps([] if what == "an index of nothing" else {"weight_map": {"a": 1}}))
    return model


@pytest.mark.parametrize("what", NOT_WHOLE)
def test_weights_that_are_not_whole_are_never_copied_nor_used(what: str, model: Path, tmp_path: Path) -> None:
    spoiled(model, what)
    if what in ("cut", "no header", "a page"):
        with pytest.raises(SafetensorError), safe_open(model / "model.safetensors", "pt"):
            pass  # the format's own library agrees
    with refused(ArtifactError, f"base.model: {model}"):
        run_stage("base", {"model": str(model)}, {})
    with refused(ArtifactError, model):
        named_models.folder(str(model))


def test_a_file_is_no_folder(model: Path) -> None:
    with refused(ArtifactError, model / "config.json") as raised:
        named_models.folder(str(model / "config.json"))
    assert "no such" not in raised.value.message


@pytest.mark.parametrize("entry", ["armorm@", "offsetbias=me/model@", "mine=me/model@", "me/model@"])
def test_an_at_sign_without_a_revision_is_no_name(entry: str) -> None:
    with refused(ConfigError, "", entry):
        reward_models.find(entry)


def test_an_address_that_is_none_of_a_store_is_no_name_of_an_input() -> None:
    with refused(ConfigError, "reward.base: base.model", "https://example.org/model"):
        run_stage("reward", {"language": "en"}, {"base": "https://example.org/model", "corpora": "file:///nosuch"})


def test_a_message_names_the_folder_that_was_given(model: Path, home: Path) -> None:
    (model / "config.json").write_text("")
    with refused(ArtifactError, f"base.model: {model}") as raised:
        run_stage("base", {"model": str(model)}, {})
    assert str(home) not in raised.value.message


def test_a_hub_that_is_away_and_a_revision_that_is_not_there(on_hub, monkeypatch) -> None:
    with refused(ArtifactError, "me/nosuch@v1"):
        named_models.version("me/nosuch@v1")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with refused(ArtifactError, "me/model@v1") as raised:
        named_models.version("me/model@v1")
    assert "not on the Hub" not in raised.value.message and "commit" in raised.value.hint


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """The user root is one who may not read everything, meanwhile."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_this_user_may_not_read_is_named(model: Path) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place, "model")
        shutil.copytree(model, folder)
        Path(place).chmod(0o755)
        (folder / "model.safetensors").chmod(0)
        Path(place, "copy").mkdir()
        Path(place, "copy").chmod(0o777)
        for read in (named_models.version, lambda name: named_models.copy(name, None, Path(place, "copy"))):
            with another_user(), refused(ArtifactError, folder / "model.safetensors"):
                read(str(folder))
        with another_user(), refused(ArtifactError, folder):
            named_models.folder(str(folder))
