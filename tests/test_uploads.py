"""Files and folders of this machine in a run on a cluster: `python -m pipelines submit` uploads or refuses them."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from refusals import refused

from pipelines import placement, submission, uploads
from xlrm.errors import ConfigError
from xlrm.evaluation import length_control
from xlrm.run import experiment
from xlrm.run.runner import run_stage
from xlrm.run.sections import SECTIONS, config_class
from xlrm.scorers.judges import human, ratings, rubrics, table
from xlrm.store import addresses, artifacts, fields, objects
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import named_models

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
CONFIG = Path(__file__).parents[1] / "configs" / "own_data.yaml"


@pytest.fixture
def bucket(s3_store, tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("XLRM_STORE", s3_store.uri)
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", [PAIR] * 40)
    return s3_store.uri


def asked(**sections) -> experiment.Experiment:
    return experiment.Experiment(name="mine", source="en", targets=(), stages=sections)


def uploaded(found: experiment.Experiment, sent: list[uploads.Upload]) -> experiment.Experiment:
    for upload in sent:
        upload.send()
    return found


def test_a_file_is_named_by_its_content_and_sent_once(bucket, tmp_path, moved) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy("pairs.jsonl", tmp_path / "elsewhere")
    names = ("pairs.jsonl", "./pairs.jsonl", str(tmp_path / "elsewhere" / "pairs.jsonl"))
    results = [uploaded(*uploads.resolve(asked(curate={"preferences": [name], "pairs": 8}))) for name in names]
    digest = hashlib.sha256(Path("pairs.jsonl").read_bytes()).hexdigest()
    named = f"{bucket}/inputs/{digest}/pairs.jsonl"
    assert all(found.stages == {"curate": {"preferences": [named], "pairs": 8}} for found in results)
    assert moved == ["pairs.jsonl"]
    assert objects.read_bytes(named) == Path("pairs.jsonl").read_bytes()
    with Path("pairs.jsonl").open("a") as file:
        file.write(json.dumps(PAIR) + "\n")
    (other,) = uploads.resolve(asked(curate={"preferences": ["pairs.jsonl"]}))[1]
    assert other.named != named and other.size == Path("pairs.jsonl").stat().st_size


def test_a_stage_finds_its_artifact_wherever_the_file_was(bucket, tmp_path) -> None:
    words = ["bread", "rain", "stairs", "a violin", "the moon", "tea", "glass", "a storm", "wool", "ink"]
    rows = [
        {
            "prompt": f"Could you please tell me something about {a} and {b}?",
            "chosen": f"Gladly: {a} and {b} have little in common, but both are old.",
            "rejected": f"No, I will not say anything at all of {b} today.",
        }
        for a in words
        for b in words
        if a < b
    ]
    config = {"benchmark": "heldout", "train_share": 0.5, "prompts": None, "parallel": None, "near_duplicates": 1.0}
    uris = []
    for folder in ("one", "two"):
        write_jsonl(tmp_path / folder / "pairs.jsonl", rows)
        given, sent = uploads.resolve(asked(curate=config | {"preferences": [f"./{folder}/pairs.jsonl"]}))
        uploaded(given, sent)
        shutil.rmtree(tmp_path / folder)
        uris.append(run_stage("curate", given.stages["curate"], {}).uri)
    assert uris[0] == uris[1] and uris[0].startswith(f"{bucket}/curate/")
    corpus = artifacts.fetch(uris[0], tmp_path / "cache")
    read = [json.loads(line) for name in ("preferences", "benchmark") for line in (corpus / f"{name}.jsonl").open()]
    assert sorted(row["prompt"] for row in read) == sorted(row["prompt"] for row in rows)


def test_files_of_every_section_and_of_each_language(bucket) -> None:
    for code in ("en", "ko"):
        write_jsonl(Path(f"bench_{code}.jsonl"), [{**PAIR, "prompt": code}])
    given = asked(
        curate={"preferences": ["pairs.jsonl", "helpsteer2"], "benchmark": "heldout"},
        evaluate={"benchmarks": ["bench_{language}.jsonl", "m-rewardbench"]},
    ).model_copy(update={"corpora": {"ko": {"preferences": ["pairs.jsonl"]}}})
    found, sent = uploads.resolve(given)
    uploaded(found, sent)
    (benchmark, published) = found.stages["evaluate"]["benchmarks"]
    assert published == "m-rewardbench" and benchmark.endswith("/bench_{language}.jsonl")
    for code in ("en", "ko"):
        there = objects.read_bytes(benchmark.replace("{language}", code))
        assert there == Path(f"bench_{code}.jsonl").read_bytes()
    assert (
        found.stages["curate"]["preferences"][1:] == ["helpsteer2"] and found.stages["curate"]["benchmark"] == "heldout"
    )
    assert found.corpora["ko"]["preferences"] == found.stages["curate"]["preferences"][:1]
    assert {upload.field for upload in sent} == {"curate.preferences", "corpora.ko.preferences", "evaluate.benchmarks"}


def test_a_folder_with_a_base_model_is_loaded_from_where_it_was_uploaded(bucket, tiny_base, tmp_path) -> None:
    shutil.copytree(tiny_base, tmp_path / "my-base")
    (tmp_path / "my-base" / "optimizer.bin").write_bytes(b"not of a model")
    found, (upload,) = uploads.resolve(asked(base={"model": "./my-base"}, policy={"model": "Qwen/Qwen2.5-7B-Instruct"}))
    uploaded(found, [upload])
    name = found.stages["base"]["model"]
    assert name.startswith(f"{bucket}/inputs/") and name.endswith("/my-base")
    named_models.copy(name, None, tmp_path / "copy")
    for file in (tmp_path / "copy").iterdir():
        assert file.read_bytes() == (tiny_base / file.name).read_bytes()
    assert (tmp_path / "copy" / "model.safetensors").exists() and not (tmp_path / "copy" / "optimizer.bin").exists()


@pytest.mark.parametrize(
    ("sections", "where", "value"),
    [
        ({"curate": {"preferences": ["other.jsonl"]}}, "curate.preferences", "other.jsonl"),
        ({"translate": {"translator": "./my-base"}}, "translate.translator", "./my-base"),
        ({"translate": {"translator": "models/nllb"}}, "translate.translator", "models/nllb"),
        ({"external": {"models": ["armorm=./my-base"]}}, "external.models", "armorm=./my-base"),
        ({"curate": {"preferences": ["hub:./dataset"]}}, "curate.preferences", "hub:./dataset"),
        ({"curate": {"preferences": ["helpsteer2=./dataset"]}}, "curate.preferences", "helpsteer2=./dataset"),
        ({"base": {"model": "./nothing"}}, "base.model", "./nothing"),
        ({"external": {"judge": {"model": "~/nothing"}}}, "external.judge.model", "~/nothing"),
    ],
)
def test_what_a_cluster_cannot_read_is_refused(sections, where, value, bucket, tmp_path) -> None:
    for folder in ("my-base", "models/nllb", "dataset"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    with refused(ConfigError, where, value):
        uploads.resolve(asked(**sections))


def test_a_path_of_the_pods_is_left_as_it_is(bucket, capsys) -> None:
    given = asked(base={"model": "/models/in-the-image"}, curate={"preferences": ["s3://other/pairs.jsonl"]})
    assert uploads.resolve(given) == (given, [])
    assert "base.model: /models/in-the-image is not on this machine" in capsys.readouterr().err


def test_without_a_store_that_a_cluster_reads_nothing_is_submitted(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", [PAIR])
    with refused(ConfigError, "curate.preferences", "pairs.jsonl") as raised:
        uploads.resolve(asked(curate={"preferences": ["pairs.jsonl"]}))
    assert "XLRM_STORE" in raised.value.hint


def test_a_dry_run_uploads_nothing(bucket, tmp_path, capsys) -> None:
    made = submission.prepare(CONFIG, (), "cross_lingual_transfer", tmp_path, placement.current(), dry_run=True)
    assert objects.list_uris(addresses.store()) == [] and "would be uploaded to" in capsys.readouterr().err
    assert made.experiment.stages["curate"]["preferences"] == ["pairs.jsonl"]
    made = submission.prepare(CONFIG, (), "cross_lingual_transfer", tmp_path, placement.current())
    assert objects.list_uris(addresses.store()) == [made.sent[0].named]
    assert made.experiment.stages["curate"]["preferences"] == [made.sent[0].named]
    assert "uploaded to" in capsys.readouterr().err


@pytest.mark.parametrize("entry", ["./opus", "./nowhere", "Helsinki-NLP/opus-mt-en-pt", None])
def test_the_translator_of_one_language_is_checked_as_that_of_all(entry, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opus").mkdir()
    pt = {"name": "Portuguese", "script": "Latin"} | ({"translator": entry} if entry else {})
    given = experiment.Experiment(name="mine", source="en", targets=("pt",), languages={"pt": pt})
    if entry and entry.startswith("./"):
        with refused(ConfigError, "languages.pt.translator", entry):
            uploads.resolve(given)
    else:
        assert uploads.resolve(given) == (given, [])


RUBRIC = "<!-- ours -->\nRate this.\n{prompt}\n{response}\n{reference}\nEnd with `Rating: N`, 1 to 10."


def judging_files() -> dict[str, dict]:
    """Sections that name a file in every field that may name one, with the files."""
    Path("my-rubric").write_text(RUBRIC)
    Path("gamed.csv").write_text("index,preference,std_delta_len,instruction_difficulty\n0,1,0,0\n")
    for code in ("ko", "zh"):
        write_jsonl(Path(f"right_{code}.jsonl"), [{"id": "p", "reference": code}])
        write_jsonl(Path(f"given_{code}.jsonl"), [{"id": "p", "response": code}])
        write_jsonl(Path(f"gpt4_{code}.jsonl"), [{"id": "p", "response": code}])
    Path("people.csv").write_text("id,system,preference\np,en,1\n")
    Path("wals.csv").write_text("lang,feature_id,value\nen,1A,3\n")
    return {
        "sample": {"given": "given_{language}.jsonl"},
        "reference": {"given": "./gpt4_{language}.jsonl"},
        "judge": {
            "judge": ["gpt-4o", "human=people.csv", "phrasebook"], "rubric": "my-rubric",
            "references": "right_{language}.jsonl", "length_control": "gamed.csv",
        },
        "reuse_report": {"typology": "wals.csv"},
    }  # fmt: skip


def test_every_field_that_names_a_file_is_uploaded(bucket) -> None:
    sections = judging_files()
    given = asked(**sections)
    for section in SECTIONS:
        named = set(fields.marked(config_class(section), fields.NamesFile))
        assert named <= sections.get(section, {}).keys(), f"a field of {section} that this test knows nothing of"
    found, sent = uploads.resolve(given)
    uploaded(found, sent)
    moved = found.stages
    names = [
        moved["sample"]["given"], moved["reference"]["given"], moved["judge"]["references"], moved["judge"]["rubric"],
        moved["judge"]["length_control"], moved["judge"]["judge"][1].removeprefix("human="),
        moved["reuse_report"]["typology"],
    ]  # fmt: skip
    files = [
        "given_{language}.jsonl",
        "gpt4_{language}.jsonl",
        "right_{language}.jsonl",
        "my-rubric",
        "gamed.csv",
        "people.csv",
        "wals.csv",
    ]
    for name, file in zip(names, files, strict=True):
        assert name.startswith(f"{bucket}/inputs/") and name.endswith(f"/{file}")
        there = objects.read_bytes(name.replace("{language}", "zh"))
        assert there == Path(file.replace("{language}", "zh")).read_bytes()
    assert moved["judge"]["judge"][0::2] == ["gpt-4o", "phrasebook"]
    assert moved["judge"]["judge"][1].startswith("human=s3://")


def test_an_uploaded_rubric_and_its_files_are_read_where_they_are(bucket, tmp_path) -> None:
    config = asked(**judging_files())
    before = config.config("judge", language="zh")
    found, sent = uploads.resolve(config)
    uploaded(found, sent)
    for path in tmp_path.glob("*"):
        path.unlink() if path.is_file() else None
    judged = found.config("judge", language="zh")
    digest = table.files(judged.judge, judged, "zh")
    assert rubrics.find(judged.rubric).text == RUBRIC.partition("\n")[2]
    assert ratings.read_references(judged.references, "zh") == {"p": "zh"}
    assert [row.system for row in human.read(judged.judge[1].removeprefix("human="), "zh")] == ["en"]
    assert length_control.load(judged.length_control, "en").of_prompt == {0: 0.0}
    judging_files()
    assert table.files(before.judge, before, "zh") == digest


def test_words_that_name_no_file_stay_even_beside_a_file_of_that_name(bucket) -> None:
    for name in ("hub", "phrasebook", "quality", "gpt-4o"):
        Path(name).write_text(RUBRIC)
    judge = {"judge": "gpt-4o", "rubric": "quality", "length_control": "hub"}
    given = asked(sample={"given": "phrasebook"}, judge=judge)
    assert uploads.resolve(given) == (given, [])


@pytest.mark.parametrize(
    ("sections", "where", "value"),
    [
        ({"sample": {"given": "missing_{language}.jsonl"}}, "sample.given", "missing_{language}.jsonl"),
        ({"judge": {"judge": ["gpt-4o", "human=missing.csv"]}}, "judge.judge", "human=missing.csv"),
        ({"judge": {"rubric": "missing"}}, "judge.rubric", "missing"),
        ({"judge": {"references": "missing.csv"}}, "judge.references", "missing.csv"),
        ({"judge": {"length_control": "missing.csv"}}, "judge.length_control", "missing.csv"),
        ({"sample": {"given": "{language}/given.jsonl"}}, "sample.given", "{language}/given.jsonl"),
    ],
)
def test_a_named_file_that_is_not_there_is_refused(sections, where, value, bucket) -> None:
    with refused(ConfigError, where, value):
        uploads.resolve(asked(**sections))
