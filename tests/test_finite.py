"""Numbers that are not finite pass nowhere: not as rows, not in a training, not in weights, rewards or fingerprints."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file
from sampled import answered
from test_registry import list_files

from xlrm.analysis import hidden_states
from xlrm.data import catalog, hub_sets, pair_records
from xlrm.errors import ArtifactError, ConfigError, DataError, XlrmError
from xlrm.models import loading, weights
from xlrm.models.transformers_engine import Model, Transformers
from xlrm.registry import gate, mlflow_loader
from xlrm.run import sections
from xlrm.scorers import engines, fingerprints, reward_journal
from xlrm.scorers.interface import Scoring
from xlrm.scorers.score_file import score_file
from xlrm.serving.service import Service
from xlrm.stages import align, curate, evaluate, external, rank, represent, reward
from xlrm.store import jsonl
from xlrm.store.jsonl import each_row, read_rows, stream, write_jsonl
from xlrm.training.pretraining import Pretraining, pretrain

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e400")
"""As JSON text, of which Python's reader makes numbers."""


def line(number: str, field: str = "margin") -> str:
    return f'{json.dumps(PAIR)[:-1]}, "{field}": {number}}}\n'


@contextmanager
def not_a_number(kind: type[XlrmError], where: str) -> Iterator[pytest.ExceptionInfo[XlrmError]]:
    """As `refused`, for a value that is NaN or infinite, at a place that begins with `where`."""
    with pytest.raises(kind) as raised:
        yield raised
    error = raised.value
    assert type(error) is kind and error.where.startswith(where) and not math.isfinite(error.value), str(error)
    assert error.message and "\n" not in str(error)


# Rows


@pytest.mark.parametrize("number", NUMBERS)
def test_every_reader_names_file_line_and_field(number: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line("0.5") + line(number))
    for read in (read_rows, lambda path: list(each_row(path)), lambda path: list(stream(path))):
        with pytest.raises(DataError) as raised:
            read(path)
        assert raised.value.where == f"{path}:2: margin" and not math.isfinite(raised.value.value)
    _, rejects = pair_records.read_pairs(path)
    assert [reject["line"] for reject in rejects] == [2] and rejects[0]["reason"].startswith("margin=")


@pytest.mark.parametrize("second", [b'{"prompt": "\xff"}', b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_a_line_that_is_no_text_or_no_json_is_named(second: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "\xc3\xa9"}\n' + second + b"\n")
    for read in (read_rows, lambda path: list(each_row(path)), lambda path: list(stream(path))):
        with refused(DataError, f"{path}:2"):
            read(path)


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"no parquet at all")
    with refused(DataError, tmp_path / "rows.parquet"):
        read_rows(tmp_path / "rows.parquet")


def test_a_number_within_a_row_is_named_by_its_way(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "scores": [1, {"a": NaN}]}\n')
    with pytest.raises(DataError) as raised:
        read_rows(path)
    assert raised.value.where == f"{path}:1: scores.1.a"
    path.write_text('{"margin": NaN, "margin": 1}\n')
    with refused(DataError, f"{path}:1", "NaN"):
        read_rows(path)
    path.write_text('{"margin": ' + "9" * 5000 + "}\n")
    with refused(DataError, f"{path}:1"):
        read_rows(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_parquet_is_read_by_the_same_rule(value: float, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [PAIR | {"margin": 1.0, "other": 1.0}, PAIR | {"margin": value, "other": 1.0}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(DataError) as raised:
        read_rows(path)
    assert raised.value.where == f"{path}:2: margin" and not math.isfinite(raised.value.value)
    pairs, rejects = pair_records.read_pairs(path)
    assert len(pairs) == 1 and [reject["line"] for reject in rejects] == [2]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([PAIR | {"margin": None, "other": value}]), path)
    assert pair_records.read_pairs(path) == ([PAIR], []), "a column that is not read does not matter"


@pytest.mark.parametrize("value", ["NaN", "0.5", True, [1], 10**400, 1e39, math.nan])
def test_a_margin_is_a_number_that_float32_has(value: object) -> None:
    with refused(DataError, "margin", value):
        pair_records.pair_of(PAIR | {"margin": value})
    for right in (0, -2, 0.5, 3.4e38):
        assert pair_records.pair_of(PAIR | {"margin": right})["margin"] == right


def test_margins_of_known_datasets_are_numbers_too(tmp_path: Path) -> None:
    records = [{"prompt": "p", "response": text, "helpfulness": helpful} for text, helpful in (("a", 4.0), ("b", 1.0))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    assert catalog.load_pairs(f"helpsteer2={tmp_path}", "en", 9, 0).rows[0]["margin"] == 3
    records[1]["helpfulness"] = math.nan
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "train.parquet")
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError) as raised:
        hub_sets.load(hub_sets.SOURCES["helpsteer2"].at(str(tmp_path), None), "en")
    assert raised.value.where == f"{tmp_path} at main: row 1: margin" and math.isnan(raised.value.value)


def test_curate_rejects_the_row_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [json.dumps({"prompt": f"Say {i}", "chosen": f"{i}!", "rejected": "no", "margin": 0.5}) for i in range(30)]
    path.write_text("\n".join([*rows[:20], rows[20].replace("0.5", "NaN"), *rows[21:]]) + "\n")
    output = tmp_path / "output"
    output.mkdir()
    config = {"preferences": (str(path),), "benchmark": "phrasebook", "benchmark_items": 28}
    assert curate.run(curate.Config(**config), output=output)["dropped_rejected"] == 1
    (reject,) = read_rows(output / "rejects.jsonl")
    assert reject["line"] == 21 and reject["reason"].startswith("margin=nan: ")
    assert {row["margin"] for row in read_rows(output / "preferences.jsonl")} == {0.5}


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("preferences", "margin", "NaN"),
        ("preferences", "margin", '"NaN"'),
        ("heldout", "margin", "1e39"),
        ("preferences", "label", "Infinity"),
        ("benchmark", "weight", '"2"'),
        ("benchmark", "weight", "NaN"),
    ],
)
def test_rows_of_a_corpus_made_elsewhere_are_checked_where_they_are_read(file, field, value, tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / "en"
    folder.mkdir(parents=True)
    rows = [line("0.5"), line("0.5")]
    for name in ("preferences", "heldout", "benchmark"):
        whole = [row.replace("{", '{"id": "a", "subset": "s", "section": "S", ', 1) for row in rows]
        if name == file:
            whole[1] = whole[1].replace('"margin": 0.5', f'"{field}": {value}')
        (folder / f"{name}.jsonl").write_text("".join(whole))
    with pytest.raises(DataError) as raised:
        if file == "benchmark":
            config = evaluate.Config(language="en")
            evaluate.run(config, model=tmp_path, corpora=tmp_path / "corpora", output=tmp_path)
        else:
            config = reward.Config(language="en", margin=True)
            reward.run(config, base=tmp_path, corpora=tmp_path / "corpora", output=tmp_path)
    assert raised.value.where == f"{folder / file}.jsonl:2: {field}"


def test_nothing_is_written_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.write_jsonl(tmp_path / "rows.jsonl", [{"reward": math.nan}])
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("value", [math.inf, "1e999"])
def test_a_field_of_an_experiment_is_a_finite_number(value) -> None:
    with refused(ConfigError, "reward.learning_rate", math.inf):
        sections.stage_config("reward", {"language": "en", "learning_rate": value})
    with refused(ConfigError, "x: base.pretraining.learning_rate", math.inf):
        sections.check_section("base", {"pretraining": {"learning_rate": float(value)}}, "x: ")


# Trainings


FEW = {"batch_size": 4, "gradient_checkpointing": False, "max_length": 64}
SMALL = Pretraining(languages=("en", "ko"), layers=1, width=64, vocabulary=512, documents=100, batch_tokens=2048)


def changed(model: Path, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Path:
    """The model with other weights, where `change` returns some."""
    shutil.copytree(model, folder)
    tensors = load_file(model / "model.safetensors")
    for name, tensor in tensors.items():
        if (other := change(name, tensor.clone())) is not None:
            tensors[name] = other
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    list_files(folder)
    return folder


def train(base: Path, folder: Path, **changes) -> dict[str, float]:
    rows = [PAIR | {"id": str(i), "prompt": f"Say {i}", "margin": 0.5} for i in range(12)]
    write_jsonl(folder / "corpora" / "en" / "preferences.jsonl", rows)
    output = folder / "work" / "output"
    output.mkdir(parents=True)
    config = reward.Config(language="en", **FEW | changes)
    return reward.run(config, base=base, corpora=folder / "corpora", output=output)


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "work" / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize(("changes", "steps"), [({}, 3), ({"loss": "pointwise"}, 6), ({"lora_rank": 2}, 3)], ids=str)
def test_a_loss_that_is_not_finite_ends_the_training_of_a_reward_model(tiny_base, tmp_path, changes, steps) -> None:
    with not_a_number(ConfigError, f"reward[en]: step 2 of {steps}: loss") as raised:
        train(tiny_base, tmp_path, learning_rate=1e30, log_steps=100, warmup=0.0, save_steps=2, **changes)
    assert raised.value.hint == "lower learning_rate=1e+30"
    assert checkpoints(tmp_path) == [] and not (tmp_path / "work" / "output" / "model.safetensors").exists()


@pytest.mark.slow
def test_it_ends_in_several_processes_too(tiny_base, tmp_path) -> None:
    with pytest.raises(ArtifactError) as raised:
        train(tiny_base, tmp_path, learning_rate=1e30, warmup=0.0, processes=2)
    assert "reward[en]: step 2 of 3: loss=" in str(raised.value) and "\n" not in str(raised.value)
    assert checkpoints(tmp_path) == []


def test_a_gradient_that_is_not_finite_ends_it_where_the_loss_is(tiny_base, tmp_path) -> None:
    base = changed(
        tiny_base, tmp_path / "base", lambda name, tensor: tensor * 1e22 if name == "model.norm.weight" else None
    )
    with refused(ConfigError, "reward[en]: step 1 of 3: gradient norm", math.inf):
        train(base, tmp_path, log_steps=100)
    assert checkpoints(tmp_path) == []


def test_the_last_step_is_followed_by_no_loss_and_its_weights_are_checked(tiny_base, tmp_path) -> None:
    with not_a_number(ConfigError, "reward[en]: after step 1, the last: ") as raised:
        train(tiny_base, tmp_path, learning_rate=1e39, batch_size=12, warmup=0.0)
    assert "model.safetensors: " in raised.value.where


def test_an_alignment_and_a_pretraining_end_the_same_way(tiny_base, tmp_path) -> None:
    write_jsonl(tmp_path / "ranked" / "en.jsonl", [PAIR | {"prompt": f"Say {i}"} for i in range(12)])
    output = tmp_path / "align" / "output"
    output.mkdir(parents=True)
    config = align.Config(language="en", labeler="en", learning_rate=1e30, warmup=0.0, **FEW)
    with not_a_number(ConfigError, "align[en]: step 2 of 3: loss"):
        align.run(config, policy=tiny_base, ranked=tmp_path / "ranked", output=output)
    output = tmp_path / "base" / "output"
    with not_a_number(ConfigError, "base: step "):
        pretrain(SMALL.model_copy(update={"learning_rate": 1e38, "matrix_learning_rate": 1e38}), output)
    assert not output.exists()


# Weights


UNUSUAL = "하"
"""A token that no probe of a fingerprint has."""
ROWS = [
    {
        "id": f"b{i}",
        "subset": "s",
        "section": "S",
        "prompt": "How many?",
        "chosen": "Three.",
        "rejected": f"No {UNUSUAL}",
    }
    for i in range(40)
]


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "whole"
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fingerprints.write(folder, engines.load(folder, Scoring()))
    list_files(folder)
    return folder


@pytest.fixture(scope="module")
def broken(model) -> Path:
    (token,) = loading.load_tokenizer(model).encode(UNUSUAL, add_special_tokens=False)

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor | None:
        if not name.endswith("embed_tokens.weight"):
            return None
        tensor[token, 1] = math.nan
        return tensor

    return changed(model, model.with_name("broken"), change)


@pytest.fixture
def corpora(tmp_path) -> Path:
    for code in ("en", "ko"):
        write_jsonl(tmp_path / "corpora" / code / "benchmark.jsonl", ROWS)
        write_jsonl(
            tmp_path / "corpora" / code / "parallel.jsonl", [{"id": "1", "text": "One."}, {"id": "2", "text": "b"}]
        )
    return tmp_path / "corpora"


def score(model: Path, corpora: Path, output: Path) -> None:
    write_jsonl(output / "in.jsonl", [{"prompt": "p", "response": UNUSUAL}])
    score_file(lambda: model, output / "in.jsonl", output / "out.jsonl", Scoring())


def rank_with(model: Path, corpora: Path, output: Path) -> None:
    rows = [answered("1", "p", ["a", "b"])]
    write_jsonl(output / "samples" / "0" / "train" / "en.jsonl", rows)
    rank.run(
        rank.Config(language="en", labelers=("en",)), samples=[output / "samples"], reward_models=[model], output=output
    )


def evaluate_in(model: Path, corpora: Path, output: Path) -> None:
    evaluate.run(evaluate.Config(language="en"), model=model, corpora=corpora, output=output)


def external_in(model: Path, corpora: Path, output: Path) -> None:
    external.run(external.Config(models=(str(model),)), corpora=corpora, output=output)


def represent_in(model: Path, corpora: Path, output: Path) -> None:
    config = represent.Config(languages=("en", "ko"))
    represent.run(config, base=model, reward_models=[], corpora=corpora, output=output)


def states_in(model: Path, corpora: Path, output: Path) -> None:
    hidden_states.measure(model, {"en": ["a"], "ko": ["b"]}, hidden_states.Reading(), "base")


def serve(model: Path, corpora: Path, output: Path) -> None:
    Service(str(model), lambda: model, Scoring())._load(model)


def train_from(model: Path, corpora: Path, output: Path) -> None:
    loading.new_reward_model(model, loading.load_tokenizer(model), 1)


def align_from(model: Path, corpora: Path, output: Path) -> None:
    write_jsonl(output / "ranked" / "en.jsonl", [PAIR] * 4)
    config = align.Config(language="en", labeler="en", **FEW)
    align.run(config, policy=model, ranked=output / "ranked", output=output / "work" / "output")


def sample_with(model: Path, corpora: Path, output: Path) -> None:
    assert Transformers(Model(str(model), own=True)).network


def load_in_mlflow(model: Path, corpora: Path, output: Path) -> None:
    mlflow_loader._load_pyfunc(str(model))


def load_without_xlrm(model: Path, corpora: Path, output: Path) -> None:
    mlflow_loader._plain(model)


DOORS = (
    score, rank_with, evaluate_in, external_in, represent_in, states_in, serve, train_from, align_from, sample_with,
    load_in_mlflow, load_without_xlrm,
)  # fmt: skip


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_weight_that_is_no_number_is_named_at_every_door(door, broken, corpora, tmp_path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises((ArtifactError, ValueError)) as raised:
        door(broken, corpora, output)
    assert "model.embed_tokens.weight" in str(raised.value) and "\n" not in str(raised.value)
    assert not list(output.rglob("*.parquet")) and not list(output.rglob("results.json"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_every_place_of_every_type_is_seen(dtype, tmp_path) -> None:
    for size in (1, 15, 1000):
        for place in {0, size // 2, size - 1}:
            for value in (math.nan, math.inf, -math.inf):
                tensor = torch.ones(size).to(dtype)
                tensor[place] = value
                if dtype == torch.float8_e4m3fn and not torch.isnan(tensor.float()[place]):
                    continue  # it has no infinity
                tensors = {"a": torch.zeros(2, 2), "empty": torch.zeros(0), "whole": torch.arange(3), "b.c": tensor}
                save_file(tensors, tmp_path / "model.safetensors")
                with not_a_number(ArtifactError, f"{tmp_path}/model.safetensors: b.c[{place}]"):
                    weights.check_finite(tmp_path)
    save_file({"a": torch.full((3,), 3e38), "b": torch.ones(9).to(dtype)}, tmp_path / "model.safetensors")
    weights.check_finite(tmp_path)


def test_weights_are_checked_where_torch_is_not_installed(tmp_path) -> None:
    """The image that registers models has neither torch nor safetensors."""
    save_file({"a": torch.tensor([1.0, math.inf])}, tmp_path / "model.safetensors")
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'safetensors', 'transformers')))"
    check = "from pathlib import Path; from xlrm.models import weights; weights.check_finite(Path(sys.argv[1]))"
    command = [sys.executable, "-c", f"{blocked}; {check}", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr.rstrip().endswith(
        "model.safetensors: a[1]=inf: weights are finite numbers; train or download the model again"
    )


def with_head(model: Path, folder: Path, value: float) -> Path:
    """The model with a head of one number, and without a fingerprint."""
    changed(model, folder, lambda name, tensor: torch.full_like(tensor, value) if name == "score.weight" else None)
    (folder / fingerprints.Fingerprint.FILE).unlink()
    list_files(folder)
    return folder


def test_a_reward_that_is_no_number_is_an_error_where_the_weights_are_numbers(model, corpora, tmp_path) -> None:
    folder = with_head(model, tmp_path / "large", 3e38)
    for door in (score, rank_with, evaluate_in, external_in, serve):
        output = tmp_path / door.__name__
        output.mkdir()
        with pytest.raises(ArtifactError) as raised:
            door(folder, corpora, output)
        assert raised.value.where in ("conversation 1: reward", str(folder)), str(raised.value)
        assert not list(output.rglob("*.parquet")) and not (output / "out.jsonl").exists()
    rewards = mlflow_loader.RewardModel(lambda chats: [1.0, math.nan])
    with pytest.raises(ValueError, match="row 1: its reward is nan"):
        rewards.predict([{"prompt": "p", "response": "r"}] * 2)


def test_kept_rewards_of_an_interrupted_run_are_checked_too(model, tmp_path) -> None:
    scorer, chat = engines.load(model, Scoring()), [{"role": "user", "content": "a"}]
    journal = reward_journal.Journal(tmp_path / "rewards.journal", "this model")
    journal.append(scorer.encode([chat]), [math.nan])
    with not_a_number(ArtifactError, "conversation 1: reward"):
        scorer.score([chat], journal)


def test_a_head_of_zeros_is_evaluated_as_ties(model, corpora, tmp_path) -> None:
    folder = with_head(model, tmp_path / "zeros", 0.0)
    for ties, accuracy in (("lost", 0.0), ("half", 0.5)):
        output = tmp_path / ties
        output.mkdir()
        config = evaluate.Config(language="en", ties=ties)
        assert evaluate.run(config, model=folder, corpora=corpora, output=output)["accuracy/en/average"] == accuracy
        assert json.loads((output / "results.json").read_text())["results"]["en"]["ties"] == len(ROWS)
        decision = gate.decide(None, output / "rewards.parquet", None, gate.Rule(resamples=100), ties, ("en",))
        assert not decision.promoted and decision.reason.startswith("not better than chance in en on corpus")
        with refused(DataError, "models:/m/1: rewards.parquet", 0.0):
            gate.check_differences("models:/m/1", output / "rewards.parquet")


# Fingerprints


@pytest.mark.parametrize("number", [*NUMBERS, '"a"', "null"])
@pytest.mark.parametrize("field", ["reward", "float32"])
def test_a_fingerprint_with_no_number_is_none(model, number, field, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    text = (folder / fingerprints.Fingerprint.FILE).read_text()
    kept = json.loads(text)
    value = kept["probes"][3]["reward"] if field == "reward" else kept["tolerance"]["float32"]
    (folder / fingerprints.Fingerprint.FILE).write_text(text.replace(f'"{field}": {value}', f'"{field}": {number}', 1))
    with pytest.raises(ArtifactError) as raised:
        engines.load(folder, Scoring())
    assert raised.value.where.startswith(f"{folder}/fingerprint.json")
    with pytest.raises(ValueError, match=r"not the model that was registered|not a fingerprint"):
        mlflow_loader._check(folder, lambda chats, length: [math.nan] * len(chats))


def test_no_fingerprint_is_written_of_rewards_that_are_no_numbers(model, tmp_path) -> None:
    scorer = engines.load(model, Scoring())
    scorer.network.score.weight.data.fill_(math.nan)
    with not_a_number(ArtifactError, "conversation 1: reward"):
        fingerprints.write(tmp_path, scorer)
    assert not (tmp_path / fingerprints.Fingerprint.FILE).exists()
