"""The representation analysis: what it measures, by hand; what its texts are; and what it has to do with transfer."""

import itertools
import json
import math
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from refusals import refused

from xlrm.analysis import embedding_norms, hidden_states, transfer
from xlrm.analysis.embedding_norms import TokenSets
from xlrm.analysis.hidden_states import Reading, Sameness, Similarity, spectrum
from xlrm.data import hub_sets, parallel_texts
from xlrm.data.hub_sets import Origin
from xlrm.data.parallel_texts import align
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation.results import Evaluation, Result
from xlrm.models import loading
from xlrm.models.cards import BaseModelCard, RewardModelCard
from xlrm.run.experiment import stage_config
from xlrm.run.runner import run_stage
from xlrm.stages import represent
from xlrm.store.jsonl import write_jsonl

SAID = {
    "en": ["A cat sleeps.", "The sun is a star, and it is far away from here.", "Five and two are seven.", "Yes."],
    "ko": ["고양이가 잔다.", "해는 별이고 여기서 멀리 있다.", "다섯과 둘은 일곱이다.", "네."],
}


@pytest.fixture(scope="module")
def reward_model(tiny_base, tmp_path_factory) -> Path:
    """A reward model of Korean, with other weights than the base model's."""
    folder = tmp_path_factory.mktemp("rm")
    tokenizer = loading.load_tokenizer(tiny_base)
    model = loading.new_reward_model(tiny_base, tokenizer, seed=5)
    model.model.layers[0].mlp.down_proj.weight.data *= 3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    base = BaseModelCard(model="tiny", revision=None)
    RewardModelCard(language="ko", pairs=1, base_model=base, chat_template_sha256="").write(folder)
    return folder


@pytest.fixture
def file(tmp_path) -> str:
    rows = zip(*SAID.values(), strict=True)
    write_jsonl(tmp_path / "said.jsonl", ({"note": "x", **dict(zip(SAID, row, strict=True))} for row in rows))
    return str(tmp_path / "said.jsonl")


# What is measured


def test_f_by_hand() -> None:
    same, orthogonal = np.tile([3.0, 4.0], (5, 1)), np.eye(5)
    turned = np.array([[3.0, 0.0], [4.0, 5.0]])  # its singular values are sqrt(45) and sqrt(5), 3 : 1
    assert spectrum(same[None])[0] == pytest.approx([1, 0])
    assert spectrum(orthogonal[None])[0] == pytest.approx([1 / 5] * 5)
    assert spectrum(np.diag([2.0, 1.0, 1.0])[None])[0] == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert spectrum(turned[None])[0] == pytest.approx([3 / 4, 1 / 4])


def test_means_over_blocks_are_means_over_texts() -> None:
    """By hand: three texts in two languages, the states alike, orthogonal, and at 60 degrees."""
    states = np.array([[[2, 0], [4, 0]], [[1, 0], [0, 1]], [[1, 0], [0.5, math.sqrt(3) / 2]]])
    found = Sameness()
    found.add(states[:2])
    found.add(states[2:])
    sixty = np.sqrt([1.5, 0.5]) / np.sqrt([1.5, 0.5]).sum()
    assert found.shares == pytest.approx([1, 1 / 2, sixty[0]])
    assert found.spectrum == pytest.approx([(1.5 + sixty[0]) / 3, (0.5 + sixty[1]) / 3])
    assert found.cosine == pytest.approx(np.array([[1, 0.5], [0.5, 1]]))


@pytest.mark.parametrize(
    "reading",
    [{}, {"position": "mean"}, {"position": "first"}, {"template": "chat"}, {"layer": 1}, {"layer": -2}],
    ids=str,
)
def test_the_state_is_the_one_that_is_said(tiny_base, reading) -> None:
    """Against each text read alone, without padding, through every layer of transformers' own model."""
    import torch
    from transformers import AutoModel

    tokenizer, model = (
        loading.load_tokenizer(tiny_base),
        AutoModel.from_pretrained(tiny_base, dtype=torch.float32).eval(),
    )
    alone = []
    for text in itertools.chain(*SAID.values()):
        if "template" in reading:
            text = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        with torch.inference_mode():
            states = model(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True).hidden_states
        (one,) = states[reading.get("layer", -1)].double().numpy()
        alone.append({"mean": one.mean(axis=0), "first": one[0]}.get(reading.get("position"), one[-1]))
    expected = spectrum(np.stack(np.split(np.array(alone), 2), axis=1))[:, 0]
    assert hidden_states.measure(tiny_base, SAID, Reading(**reading), "x").shares == pytest.approx(expected, abs=1e-6)


def test_it_does_not_depend_on_batches_or_blocks(tiny_base, monkeypatch) -> None:
    from xlrm.data.catalog import PARALLEL

    texts = {
        code: [row["text"] * (1 + i % 5) for i, row in enumerate(PARALLEL["phrasebook"].rows(code, 20, 0))]
        for code in SAID
    }
    found = []
    for block, batch_tokens in ((64, 16), (64, 8192), (7, 256)):
        monkeypatch.setattr(hidden_states, "TEXTS_AT_ONCE", block)
        found.append(hidden_states.measure(tiny_base, texts, Reading(batch_tokens=batch_tokens), "x"))
    assert len({len(ids) for ids in loading.load_tokenizer(tiny_base)(texts["en"])["input_ids"]}) > 5, (
        "padding is there"
    )
    for other in found[1:]:
        assert other.shares == pytest.approx(found[0].shares, abs=1e-6)
        assert other.cosine == pytest.approx(found[0].cosine, abs=1e-6)


def test_every_text_is_read_once_and_no_more_than_a_block_is_kept(tiny_base, monkeypatch) -> None:
    read, kept, before = [], [], []
    real, real_add = hidden_states.hidden_states, Sameness.add

    def counted(model, encoded, reading):
        read.extend(tuple(ids) for ids in encoded)
        return real(model, encoded, reading)

    def seen(found, states):
        assert all(other() is None for other in before), "the states of an earlier block are still in memory"
        before.append(weakref.ref(states))
        kept.append(states.shape)
        real_add(found, states)

    monkeypatch.setattr(hidden_states, "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(hidden_states, "hidden_states", counted)
    monkeypatch.setattr(Sameness, "add", seen)
    assert len(hidden_states.measure(tiny_base, SAID, Reading(), "x").shares) == 4
    assert kept == [(2, 2, 64), (2, 2, 64)]
    tokenizer = loading.load_tokenizer(tiny_base)
    assert sorted(read) == sorted(tuple(ids) for many in SAID.values() for ids in tokenizer(many)["input_ids"])


@pytest.mark.parametrize("template", ["raw", "chat"])
def test_texts_that_are_cut_are_counted_and_keep_their_end(tiny_base, template) -> None:
    long = {"en": ["one two three " * 30, "one"], "ko": ["하나 둘 셋 " * 30, "하나"]}
    cut = hidden_states.measure(tiny_base, long, Reading(max_length=16, template=template), "x")
    end = {code: [f"{'넷 ' if code == 'ko' else 'four '}{many[0]}", many[1]] for code, many in long.items()}
    assert cut.truncated == 2
    assert cut.shares == pytest.approx(
        hidden_states.measure(tiny_base, end, Reading(max_length=16, template=template), "x").shares, abs=1e-6
    )
    assert hidden_states.measure(tiny_base, SAID, Reading(template=template), "x").truncated == 0


def test_a_layer_that_is_not_there(tiny_base) -> None:
    with refused(ConfigError, "represent.layer", 3):
        hidden_states.measure(tiny_base, SAID, Reading(layer=3), "x")


def test_a_model_without_all_its_weights_is_not_measured(tiny_base, tmp_path) -> None:
    shutil.copytree(tiny_base, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with refused(ArtifactError, tmp_path / "model") as raised:
        hidden_states.measure(tmp_path / "model", SAID, Reading(), "x")
    assert "layers.2" in raised.value.message


# Norms of embeddings


def test_a_language_has_the_tokens_that_only_its_texts_use(tiny_base) -> None:
    tokenizer = loading.load_tokenizer(tiny_base)

    def of(text: str) -> set[int]:
        return set(tokenizer(text, add_special_tokens=False)["input_ids"])

    texts = {"en": ["cat dog cat", f"dog sun{tokenizer.pad_token}"], "ko": ["고양이 고양이", "sun 해"]}
    once, twice = (embedding_norms.own_tokens(tokenizer, texts, TokenSets(min_count=n)) for n in (1, 2))
    assert set(once["en"]) == (of("cat dog cat") | of("dog sun")) - of("sun 해") - of("고양이 고양이")
    assert set(twice["en"]) < set(once["en"]) and not set(once["en"]) & set(once["ko"])
    assert tokenizer.pad_token_id not in once["en"] and twice["ko"]
    shared = embedding_norms.own_tokens(tokenizer, {"en": ["cat cat cat"], "ko": ["cat"]}, TokenSets(min_share=0.75))
    assert set(shared["en"]) == of("cat cat cat") & set(shared["en"]) != set() and not shared["ko"]


@pytest.mark.parametrize("sharded", [False, True])
def test_norms_are_of_the_input_embeddings(tiny_base, tmp_path, sharded, monkeypatch) -> None:
    monkeypatch.setattr(embedding_norms, "_ROWS_AT_ONCE", 300)
    model = loading.load_causal_lm(tiny_base)
    model.save_pretrained(tmp_path, max_shard_size="200KB" if sharded else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() is sharded
    expected = model.get_input_embeddings().weight.detach().double().norm(dim=1).numpy()
    assert embedding_norms.vocabulary_norms(str(tmp_path), tmp_path) == pytest.approx(expected, abs=1e-9)
    for path in tmp_path.glob("*.safetensors*"):
        path.unlink()
    with refused(ArtifactError, tmp_path / "model.safetensors"):
        embedding_norms.vocabulary_norms(str(tmp_path), tmp_path)


def test_distances_by_hand() -> None:
    """0, 1, 2, 3 moved by 2: half of it lies beyond the other's end. The standard deviation is sqrt(5) / 2."""
    found = embedding_norms.distances({"en": [0, 1, 2, 3], "es": [2, 3, 4, 5], "ko": []})
    assert list(found) == ["es"] and found["es"].model_dump() == pytest.approx({
        "wasserstein": 2, "relative": 4 / math.sqrt(5), "ks": 0.5, "shift": 4 / math.sqrt(5)
    })  # fmt: skip
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 83).round(1), rng.normal(0.3, 2, 41).round(1)  # rounded: there are ties
    steps = np.sort(np.concatenate([one, other]))
    apart = np.array([abs((one <= step).mean() - (other <= step).mean()) for step in steps])
    drawn = embedding_norms.distances({"en": one.tolist(), "es": other.tolist()})["es"]
    assert drawn.ks == pytest.approx(apart.max())
    assert drawn.wasserstein == pytest.approx((apart[:-1] * np.diff(steps)).sum()), "area between both functions"
    assert embedding_norms.distances({"en": [1, 1], "es": [2]})["es"].relative is None


# Parallel texts


def test_texts_are_aligned_and_each_is_there_once(capsys) -> None:
    english = {"a": "One.", "b": "Two.", "c": "One. ", "d": "Four.", "e": "Five."}
    korean = {"e": "다섯.", "b": "둘.", "c": "하나!", "a": "하나.", "d": " ", "f": "여섯."}
    found = align("set", {"en": english, "ko": korean}, {"en": Origin(licence="mit")}, None, 0)
    assert found.texts == {"en": ["One.", "Two.", "Five."], "ko": ["하나.", "둘.", "다섯."]}
    assert found.account.model_dump(exclude_unset=True) == {
        "set": "set", "licence": "mit", "rows": 6, "incomplete": 2, "duplicates": 1, "used": 3
    }  # fmt: skip
    assert "set: 6 texts, 2 not in every language, 1 duplicates, 3 used" in capsys.readouterr().err
    fewer = align("set", {"en": english, "ko": korean}, {}, 2, 1)
    assert len(fewer) == 2 and set(zip(*fewer.texts.values(), strict=True)) <= set(
        zip(*found.texts.values(), strict=True)
    )


def belebele(folder: Path, languages: tuple[str, ...]) -> str:
    """A folder laid out as the repository: a table a language, their records in another order each; the last passage is
    there in the first language only."""
    tables = []
    for place, code in enumerate(languages):
        dialect = hub_sets.LANGUAGES[code].flores
        records = [
            {
                "link": f"http://{i // 2}", "question_number": 1 + i % 2, "flores_passage": f"Passage {i // 2} {code}",
                "dialect": dialect,
            }
            for i in range(10 if place else 12)
        ]  # fmt: skip
        (folder / "data").mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / "data" / f"{dialect}.jsonl", records[::-1] if place % 2 else records)
        tables.append(f"- config_name: {dialect}\n  data_files:\n  - split: test\n    path: data/{dialect}.jsonl\n")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(tables)}---\n")
    return f"belebele={folder}"


def test_belebele_is_aligned_by_link_and_its_counts_are_held_to_the_card(tmp_path, monkeypatch, capsys) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    entry = belebele(tmp_path / "set", ("en", "ko"))
    found = parallel_texts.load(entry, ("en", "ko"), None, 0)
    assert found.texts == {code: [f"Passage {i} {code}" for i in range(5)] for code in ("en", "ko")}
    assert found.account.records == {"en": 12, "ko": 10} and found.account.incomplete == 1
    said = capsys.readouterr().err
    assert "(kor_Hang) has 5 rows of 10 records, its card says 488 rows of 900 records" in said
    config = represent.Config(languages=("en", "ko"), parallel=entry)
    before = represent.files(config)
    (tmp_path / "set" / "README.md").write_text("other")
    assert represent.files(config) != before


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        ({"en": "a", "it": "b"}, ": {file}", "ko"),
        ({"en": "a", "ko": 3}, ": {file}:1: ko", 3),
        ({"en": "a", "ko": ""}, "", "{file}"),
    ],
)
def test_a_file_that_will_not_do_is_named(tmp_path, line, place, value) -> None:
    write_jsonl(tmp_path / "x.jsonl", [line])
    value = str(tmp_path / "x.jsonl") if value == "{file}" else value
    with refused(DataError, f"represent.parallel{place.format(file=tmp_path / 'x.jsonl')}", value):
        parallel_texts.load(str(tmp_path / "x.jsonl"), ("en", "ko"), None, 0)


@pytest.mark.parametrize(
    ("stage", "values", "place", "value"),
    [
        ("represent", {"parallel": "flores"}, "represent.parallel", "flores"),
        ("represent", {"position": "middle"}, "represent.position", "middle"),
        ("represent", {"token_sets": {"min_share": 0.5}}, "represent.token_sets.min_share", 0.5),
        ("curate", {"parallel": "belebele@v1"}, "curate.parallel", "belebele@v1"),
    ],
)
def test_settings_that_will_not_do(stage, values, place, value) -> None:
    with refused(ConfigError, place, value):
        stage_config(stage, values)


# The stage


def test_the_stage_on_a_file_of_parallel_texts(tiny_base, reward_model, file, tmp_path) -> None:
    config = represent.Config(languages=("en", "ko"), parallel=file, norm_models=(str(tiny_base),))
    metrics = represent.run(config, base=tiny_base, reward_models=[reward_model], output=tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found["models"]) == ["base", "ko"] and found["texts"] == metrics["texts"] == 4
    assert found["reading"] == {"position": "last", "template": "raw", "layer": -1, "max_length": 1024}
    assert found["parallel"]["file"] == file
    for name, one in found["models"].items():
        assert metrics[f"singular/{name}"] == one["mean"] == pytest.approx(np.mean(one["values"]), abs=1e-6)
        assert one["spectrum"][0] == pytest.approx(one["mean"], abs=1e-6) and sum(one["spectrum"]) == pytest.approx(1)
        assert np.array(one["cosine"]).shape == (2, 2)
    assert found["models"]["base"]["mean"] != found["models"]["ko"]["mean"]
    assert found["embedding_norms"]["base"] == found["embedding_norms"][str(tiny_base)]
    with refused(DataError, "represent.reward_models", "ko"):
        represent.run(config, base=tiny_base, reward_models=[reward_model] * 2, output=tmp_path)


def test_the_stage_on_corpora(tiny_base, file, tmp_path) -> None:
    for code, many in SAID.items():
        rows = [{"id": f"p-{i}", "text": text} for i, text in enumerate(many)]
        write_jsonl(tmp_path / code / "parallel.jsonl", rows if code == "en" else rows[::-1])
    config = represent.Config(languages=("en", "ko"))
    assert represent.reads(config) == {"corpora": ("en/parallel.jsonl", "ko/parallel.jsonl")}
    translated = represent.run(config, base=tiny_base, reward_models=[], corpora=tmp_path, output=tmp_path)
    config = represent.Config(languages=("en", "ko"), parallel=file)
    assert represent.run(config, base=tiny_base, reward_models=[], output=tmp_path) == translated
    with refused(ConfigError, "represent.parallel"):
        represent.run(represent.Config(), base=tiny_base, reward_models=[], output=tmp_path)


def test_texts_of_ones_own_need_none_of_the_corpora(tiny_base, file, tmp_path) -> None:
    """A corpus without parallel texts, as paper A's, is nothing that the stage reads, nor depends on."""
    from datetime import UTC, datetime

    from xlrm.store import addresses, artifacts, objects

    def made(name: str, text: str, folder: Path | None = None) -> str:
        if folder is None:
            folder = tmp_path / name
            folder.mkdir()
            (folder / "summary.json").write_text(text)
        uri = objects.join(addresses.store(), "made", name)
        artifacts.publish(
            folder, uri, stage="made", key=name, config={}, metrics={}, inputs={}, code_version="1", git_commit=None,
            image=None, versions={}, started=datetime.now(UTC), seconds=0.0, peak_memory_mib=0.0, mlflow_run_id=None,
        )  # fmt: skip
        return uri

    base = made("base", "", tiny_base)
    config = {"languages": ["en", "ko"], "parallel": file}
    first, second = (
        run_stage("represent", config, {"base": base, "reward_models": [], "corpora": made(name, name)})
        for name in "ab"
    )
    assert first.uri == second.uri
    Path(file).write_text(Path(file).read_text().replace("Yes.", "No."))
    assert (
        run_stage("represent", config, {"base": base, "reward_models": [], "corpora": made("c", "c")}).uri != first.uri
    )


# Correlation with transfer


def evaluation(language: str, accuracies: dict[str, float]) -> Evaluation:
    results = {}
    for on, value in accuracies.items():
        one = {"average": value}
        results[on] = Result(
            items=1, accuracy=one, interval={"average": (value, value)}, length_baseline=one, random_baseline=one
        )
    return Evaluation(language, results, {})


def shares(**means: float) -> dict[str, Similarity]:
    return {
        name: Similarity(mean=mean, interval=(mean, mean), values=[], spectrum=[], cosine=[], truncated=0)
        for name, mean in means.items()
    }


def test_correlation_by_hand() -> None:
    """x = 1, 2, 3, 4, 5 and y = 2, 1, 4, 3, 5 differ by 4 in squares: r = 1 - 4 / 20. Of the 120 orders, those that differ
    by 4 or less, or by 36 or more, are as strong: 1 by 0, 4 by 2, 3 by 4, and as many the other way round."""
    found = transfer.correlate([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    squares = [
        sum((a - b) ** 2 for a, b in zip(order, range(5), strict=True)) for order in itertools.permutations(range(5))
    ]
    p = sum(s <= 4 or s >= 36 for s in squares) / 120
    assert (found.n, found.pearson, found.spearman) == (5, pytest.approx(0.8), pytest.approx(0.8))
    assert found.p == found.spearman_p == pytest.approx(p) and p == pytest.approx(16 / 120)
    z = math.log(1.8 / 0.2) / 2
    assert found.interval == pytest.approx(
        (math.tanh(z - 1.959964 / math.sqrt(2)), math.tanh(z + 1.959964 / math.sqrt(2)))
    )


def test_correlation_of_values_with_ties_and_without_symmetry() -> None:
    """By the definitions, over all orders: 7! of them."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 1, 7), rng.normal(0, 1, 7).round(0)
    found = transfer.correlate(x.tolist(), y.tolist())
    ranks = [[(sum(b < a for b in values) + sum(b <= a for b in values) + 1) / 2 for a in values] for values in (x, y)]
    for one, other, r, p in ((x, y, found.pearson, found.p), (*ranks, found.spearman, found.spearman_p)):
        expected = np.corrcoef(one, other)[0, 1]
        rs = [np.corrcoef(one, order)[0, 1] for order in itertools.permutations(other)]
        assert r == pytest.approx(expected)
        assert p == pytest.approx(np.mean([abs(value) >= abs(expected) - 1e-9 for value in rs]))
    low, high = (math.atanh(found.pearson) + sign * 1.959964 / math.sqrt(4) for sign in (-1, 1))
    assert found.interval == pytest.approx((math.tanh(low), math.tanh(high)), abs=1e-6)


def test_p_of_many_models_is_of_random_orders() -> None:
    """Near that of Student's t, which it estimates; the order that was found is one of them, so it is never 0."""
    many = transfer.correlate(list(range(12)), [*range(11), 0])
    t = many.pearson * math.sqrt(10 / (1 - many.pearson**2))
    assert many.p == pytest.approx(2 * scipy.stats.t.sf(t, 10), abs=0.02)
    assert transfer.correlate(list(range(12)), list(range(12))).p == pytest.approx(1 / 40_321)


def test_transfer_is_accuracy_in_other_languages() -> None:
    evaluations = [
        evaluation("en", {"en": 0.9, "es": 0.8, "ko": 0.6}),
        evaluation("es", {"en": 0.7, "es": 0.9, "ko": 0.5}),
        evaluation("ko", {"en": 0.6, "es": 0.4, "ko": 0.9}),
    ]
    found = transfer.measure(evaluations, shares(base=0.5, en=0.52, es=0.44, ko=0.6))
    assert [one.accuracy for one in found.models] == pytest.approx([0.7, 0.6, 0.5])
    assert [one.moved for one in found.models] == pytest.approx([0.02, 0.06, 0.1])
    assert found.moved.pearson == pytest.approx(-1) and found.moved.interval is None and found.moved.n == 3
    assert found.moved.p == pytest.approx(2 / 6) and found.share.spearman == pytest.approx(-0.5)
    assert found.by_language == {}, "two models a benchmark language"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_models_are_not_correlated(count) -> None:
    evaluations = [
        evaluation(code, {"en": 0.5, "es": 0.6, "ko": 0.7 + i / 10}) for i, code in enumerate(("en", "es", "ko"))
    ]
    found = transfer.measure(evaluations[:count], shares(base=0.5, en=0.5, es=0.6, ko=0.7))
    assert len(found.models) == count and found.share is None and found.moved is None
    assert transfer.correlate([1, 2, 3], [5, 5, 5]) is None
