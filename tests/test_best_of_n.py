"""Best-of-n: the estimator against all subsets written out, and the stage against rewards of one conversation at a time."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from sampled import answered

from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation import best_of_n as estimator
from xlrm.evaluation import statistics
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.models import chat_templates, loading, samples
from xlrm.scorers import labelers
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scoring
from xlrm.stages import best_of_n
from xlrm.store.jsonl import read_rows, write_jsonl


def expected(labeler: list[float], evaluator: list[float], k: int) -> float:
    return estimator.expected(np.array([labeler]), np.array([evaluator]), [k])[0, 0]


def test_the_best_of_two_of_three_by_hand() -> None:
    """The labeler takes b of (a, b), c of (a, c) and b of (b, c)."""
    assert expected([1, 3, 2], [10, 20, 40], 2) == pytest.approx((20 + 40 + 20) / 3)
    assert expected([1, 3, 2], [10, 20, 40], 1) == pytest.approx(70 / 3)
    assert expected([1, 3, 2], [10, 20, 40], 3) == 20, "the labeler's choice"
    assert expected([1, 2, 2], [10, 20, 40], 2) == pytest.approx((20 + 40 + 30) / 3), "of equals, half of each"
    assert expected([5, 5, 5], [1, 2, 6], 2) == expected([5, 5, 5], [1, 2, 6], 3) == pytest.approx(3)


def over_all_subsets(labeler: list[float], evaluator: list[float], k: int) -> float:
    """The mean over all subsets of the mean of the evaluator's values of the best in the subset."""
    best = []
    for subset in itertools.combinations(range(len(labeler)), k):
        highest = max(labeler[place] for place in subset)
        best.append(np.mean([evaluator[place] for place in subset if labeler[place] == highest]))
    return float(np.mean(best))


@pytest.mark.parametrize("values", [1000, 3], ids=["different", "many ties"])
def test_the_estimate_is_the_mean_over_all_subsets(values: int) -> None:
    rng = np.random.default_rng(values)
    labeler, evaluator = rng.integers(0, values, (4, 9)).astype(float), rng.normal(size=(4, 9))
    estimates = estimator.expected(labeler, evaluator, range(1, 10))
    for line in range(4):
        plain = [over_all_subsets(labeler[line].tolist(), evaluator[line].tolist(), k) for k in range(1, 10)]
        assert estimates[line].tolist() == pytest.approx(plain, abs=1e-12)


def test_the_best_of_many_is_computed_without_overflow() -> None:
    """The expected largest of k of the numbers 0 to n - 1 is (n + 1) k/(k + 1) - 1."""
    values = np.arange(300.0)[None]
    (estimates,) = estimator.expected(values, values, [1, 150, 299, 300])
    assert estimates.tolist() == pytest.approx([301 * k / (k + 1) - 1 for k in (1, 150, 299, 300)])


def test_sizes_and_the_bound_of_the_divergence() -> None:
    assert estimator.sizes(64) == (1, 2, 4, 8, 16, 32, 64) and estimator.sizes(5) == (1, 2, 4, 5)
    assert estimator.sizes(1) == (1,) and estimator.kl_bound(1) == 0
    assert estimator.kl_bound(64) == pytest.approx(3.1745, abs=5e-5)
    assert estimator.kl_bound(4) == pytest.approx(0.6363, abs=5e-5)


def test_the_bound_is_above_the_divergence_of_a_policy_with_few_responses() -> None:
    """For responses of probabilities p in the order of their rewards, best-of-n has cumulative probabilities (sum of p)^n."""
    p = np.array([0.5, 0.3, 0.15, 0.05])
    best = np.diff(p.cumsum() ** 8, prepend=0)
    assert 0 < (best * np.log(best / p)).sum() < estimator.kl_bound(8)


def test_a_macro_average_gives_each_subset_the_same_weight() -> None:
    """Its interval is that of the normal distribution with the standard error of independent subsets."""
    rng = np.random.default_rng(5)
    groups = ["long"] * 400 + ["short"] * 100
    values = np.stack([rng.normal(1, 2, 500), np.repeat([0.0, 3.0], (400, 100))], axis=1)
    first, second = statistics.macro_means(statistics.by_label(values, groups).values())
    parts = values[:400, 0], values[400:, 0]
    assert first.value == pytest.approx((parts[0].mean() + parts[1].mean()) / 2)
    error = math.sqrt(sum(part.var() / len(part) for part in parts)) / 2
    for end, sign in ((first.low, -1), (first.high, 1)):
        assert end == pytest.approx(first.value + sign * 1.96 * error, abs=0.1 * error)
    assert (second.value, second.low, second.high) == pytest.approx((1.5, 1.5, 1.5)), "prompts stay in their subset"


TEXTS = ("One.", "It is three, of course.", "Three.", "One.", "No.")
QUESTIONS = ("How much is one plus two?", "How much is two plus two?", "What do dogs eat?")


@pytest.fixture(scope="module")
def models(tiny_base, tmp_path_factory) -> list[Path]:
    folders = [tmp_path_factory.mktemp(f"rm{seed}") for seed in (1, 2)]
    tokenizer = loading.load_tokenizer(tiny_base)
    for seed, folder in enumerate(folders):
        loading.new_reward_model(tiny_base, tokenizer, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folders


def sample(folder: Path, texts: tuple[str, ...] = TEXTS) -> list[dict]:
    rows = [
        answered(str(n), question, [f"{text} {n}" for text in texts], subset="a" if n else "b", split="eval")
        for n, question in enumerate(QUESTIONS)
    ]
    rows[0]["finished"] = [True, False, True, True, True]
    write_jsonl(folder / "0/eval/en.jsonl", rows)
    return rows


def plain(model: Path, rows: list[dict]) -> np.ndarray:
    """Rewards (prompts, responses), each of a conversation alone."""
    scorer = TransformersScorer(loading.load_reward_model(model), loading.load_tokenizer(model))
    return np.array(
        [
            [scorer.score([chat_templates.conversation(row["prompt"], text)])[0] for text in row["responses"]]
            for row in rows
        ]
    )


def test_the_stage_writes_each_labelers_choices_all_rewards_and_what_was_gained(models, tmp_path) -> None:
    rows = sample(tmp_path / "samples")
    config = best_of_n.Config(language="en", labelers=("en", "de+en"), n=4)
    output = tmp_path / "best"
    metrics = best_of_n.run(config, samples=[tmp_path / "samples"], reward_models=models, output=output)
    rewards = {name: plain(model, rows) for name, model in zip(config.labelers, models, strict=True)}
    kept = read_rows(output / "rewards.jsonl")
    assert [(row["id"], row["subset"]) for row in kept] == [("0", "b"), ("1", "a"), ("2", "a")]
    results = BestOfNResults.read(output)
    assert (results.prompts, results.subsets, results.sizes) == (3, {"b": 1, "a": 2}, (1, 2, 4))
    for place, (name, own) in enumerate(rewards.items()):
        assert [row["rewards"][name] for row in kept] == pytest.approx(own, abs=1e-5)
        best = 1 + own[:, 1:].argmax(axis=1)
        chosen = samples.read([output], place, "eval", "en")
        assert [row["responses"] for row in chosen] == [
            [row["responses"][at]] for row, at in zip(rows, best, strict=True)
        ]
        assert chosen[0]["finished"] == [best[0] != 1] and chosen[0]["subset"] == "b"
        assert results.characters[name] == pytest.approx(np.mean([len(row["responses"][0]) for row in chosen]))
        for evaluator, values in rewards.items():
            for at, k in enumerate((1, 2, 4)):
                gains = [
                    over_all_subsets(*pair, k) for pair in zip(own[:, 1:].tolist(), values[:, 1:].tolist(), strict=True)
                ]
                gains = np.array(gains) - values[:, 0]
                estimate = results.increases[name][evaluator][at]
                assert estimate.value == pytest.approx((gains[0] + gains[1:].mean()) / 2, abs=1e-5)
                assert estimate.low <= estimate.value <= estimate.high
    assert metrics["increase/en/de+en"] == results.increases["en"]["de+en"][-1].value
    assert results.reference_characters == np.mean([len("One. 0")] * 3)
    assert results.increases["en"]["en"][0].value < results.increases["en"]["en"][-1].value


def test_equal_responses_to_a_prompt_are_scored_once(models, tmp_path, monkeypatch) -> None:
    scored: list[list[list[int]]] = []
    batch = TransformersScorer.batch
    monkeypatch.setattr(TransformersScorer, "batch", lambda self, ids: scored.append(ids) or batch(self, ids))
    rows = sample(tmp_path / "samples")
    read = [(row["prompt"], row["responses"]) for row in rows]
    (labelled,) = labelers.label(read, ["en"], models[:1], Scoring(), tmp_path / "output", "test")
    assert sum(map(len, scored)) == len(QUESTIONS) * len(set(TEXTS))
    assert [len(of) for of in labelled.rewards] == [5, 5, 5]
    assert all(of[0] == of[3] for of in labelled.rewards)


def test_fewer_responses_than_n_and_one_are_refused(models, tmp_path) -> None:
    sample(tmp_path / "samples")
    config = best_of_n.Config(language="en", labelers=("en",), n=5)
    with refused(DataError, "samples: 0: responses", 5) as raised:
        best_of_n.run(config, samples=[tmp_path / "samples"], reward_models=models[:1], output=tmp_path / "best")
    assert "sample.runs" in raised.value.hint


@pytest.mark.parametrize(
    ("names", "field", "value"),
    [(("en", "de"), "reward_models", 1), ((), "reward_models", 1), (("en", "en"), "labelers", ("en", "en"))],
)
def test_names_are_one_for_each_reward_model(models, tmp_path, names, field, value) -> None:
    sample(tmp_path / "samples")
    given = models[:1] * 2 if field == "labelers" else models[:1]
    config = best_of_n.Config(language="en", labelers=names, n=2)
    with refused(ConfigError, f"best_of_n.{field}", value):
        best_of_n.run(config, samples=[tmp_path / "samples"], reward_models=given, output=tmp_path / "best")


def test_the_choice_is_the_first_of_equals_and_never_the_reference() -> None:
    row = answered("1", "Who?", ["reference", "a", "b", "c"])
    assert estimator.choice(row, [9.0, 1.0, 2.0, 2.0])["responses"] == ["b"]
    with pytest.raises(ArtifactError) as raised:
        estimator.choice(row, [9.0, 1.0, math.nan, 2.0])
    assert raised.value.where == "reward"
