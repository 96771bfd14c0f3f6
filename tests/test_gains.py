"""What policies gained and how far they moved: rewards one at a time, and divergences of all responses that are possible."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_mt5
import torch
from letter_model import LETTERS
from letter_model import save as letter_model
from refusals import refused
from sampled import answered
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from xlrm.errors import ArtifactError, DataError
from xlrm.evaluation import observed, policy_gains
from xlrm.evaluation.observed import ObservedResponse
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.models import chat_templates, divergence, loading, samples
from xlrm.stages import gains
from xlrm.store.jsonl import read_rows, write_jsonl

TOKENS = ("<unk>", "</s>", *LETTERS)
END = 1


def moved(network: torch.nn.Module, seed: int, by: float) -> torch.nn.Module:
    """The network with normal noise added to its weights."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in network.parameters():
            weights += by * torch.randn_like(weights)
    return network


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> tuple:
    """Two policies of five tokens."""
    folder = letter_model(tmp_path_factory.mktemp("letters"))
    first, second = (AutoModelForCausalLM.from_pretrained(folder).eval() for _ in range(2))
    return moved(first, 1, 0.2), second


def plain_log_probabilities(network, read: list[int], written: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.tensor([[*read, *written]])).logits[0, len(read) - 1 :].double().log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_its_expectation_is_the_divergence_over_all_responses(letters, temperature) -> None:
    """Responses of up to three tokens, which end at an end token: all are written out, with their probabilities."""
    policy, reference = letters
    read, exact, expectation, total = [2, 3, 4], 0.0, 0.0, 0.0
    for written in itertools.product(range(len(TOKENS)), repeat=3):
        end = next((place + 1 for place, token in enumerate(written) if token == END), 3)
        if any(written[end:]):
            continue  # each response that ends early is taken once
        logs = []
        for network in letters:
            table = (plain_log_probabilities(network, read, written[: end - 1]) / temperature).log_softmax(-1)
            logs.append(sum(table[place, token].item() for place, token in enumerate(written[:end])))
        probability = np.exp(logs[0])
        (value,) = divergence.per_response(policy, reference, [(read, list(written[:end]))], temperature)
        exact += probability * (logs[0] - logs[1])
        expectation += probability * value
        total += probability
    assert total == pytest.approx(1, abs=1e-6)
    assert expectation == pytest.approx(exact, rel=1e-5) and exact > 0.01


def test_a_policy_does_not_diverge_from_itself_nor_by_a_response_without_tokens(letters) -> None:
    policy, reference = letters
    assert divergence.per_response(policy, policy, [([2, 3], [4, 4, END])]) == [0.0]
    assert divergence.per_response(policy, reference, [([2, 3], [])]) == [0.0]


def test_long_responses_are_computed_in_parts(letters, monkeypatch) -> None:
    policy, reference = letters
    response = [2, 4, 3, 2, 2, 4, END]
    (whole,) = divergence.per_response(policy, reference, [([3], response)])
    monkeypatch.setattr(divergence, "_TOKENS", 3)
    assert divergence.per_response(policy, reference, [([3], response)]) == pytest.approx([whole], rel=1e-6)


def test_token_ids_of_responses_are_those_that_a_policy_writes(tiny_base) -> None:
    """Those of the conversation, up to the token that ends the turn; a cut response does not have it."""
    tokenizer = loading.load_tokenizer(tiny_base)
    prompts, texts = ["How much is it?", "Who?"], ["It is three.", "three"]
    ended, cut = divergence.token_ids(tokenizer, prompts, texts, [True, False])
    asked = chat_templates.as_trained(tokenizer, prompts)
    assert (ended[0], cut[0]) == (asked[0], asked[1])
    ends = chat_templates.turn_ends(tokenizer)
    assert ended[1][-1] in ends and not ends & {*ended[1][:-1], *cut[1]}
    for (read, written), text in zip((ended, cut), texts, strict=True):
        assert chat_templates.text_of(tokenizer, written, list(ends)) == text
        plain = AutoTokenizer.from_pretrained(tiny_base)
        chat = chat_templates.conversation(prompts[texts.index(text)], text)
        whole = plain.apply_chat_template(chat, tokenize=True, return_dict=False)
        assert [*read, *written] == whole[: len(read) + len(written)]


def test_an_encoder_decoder_reads_the_prompt_and_ends_responses_with_its_end_token(tmp_path) -> None:
    folder = tiny_mt5.save(tmp_path)
    first, second = (AutoModelForSeq2SeqLM.from_pretrained(folder).eval() for _ in range(2))
    moved(first, 1, 0.02)
    tokenizer = loading.load_tokenizer(folder)
    prompts, texts = ["How much is it?", "Who?"], ["It is three.", "three"]
    ended, cut = divergence.token_ids(tokenizer, prompts, texts, [True, False], encoder_decoder=True)
    plain = AutoTokenizer.from_pretrained(folder)
    assert [ended[0], cut[0]] == chat_templates.as_encoded(tokenizer, prompts)
    assert ended[1] == plain(texts[0])["input_ids"] and ended[1][-1] == tiny_mt5.EOS
    assert cut[1] == plain(texts[1])["input_ids"][:-1]
    values = []
    for read, written in (ended, cut):
        before = torch.tensor([[tiny_mt5.PAD, *written[:-1]]])
        with torch.no_grad():
            p, q = (
                network(torch.tensor([read]), decoder_input_ids=before).logits[0].double().log_softmax(-1)
                for network in (first, second)
            )
        values.append((p.exp() * (p - q)).sum().item())
    assert divergence.per_response(first, second, [ended, cut]) == pytest.approx(values, rel=1e-4) and min(values) > 0


PROMPTS = ("How much is one plus two?", "How much is two plus two?", "What do dogs eat?")


@pytest.fixture(scope="module")
def models(tiny_base, tmp_path_factory) -> dict[str, list[Path]]:
    """Two reward models, and two policies that moved away from the base."""
    tokenizer = loading.load_tokenizer(tiny_base)
    made: dict[str, list[Path]] = {"rewards": [], "policies": []}
    for seed in (1, 2):
        for kind, network in (
            ("rewards", loading.new_reward_model(tiny_base, tokenizer, seed=seed)),
            ("policies", moved(loading.load_causal_lm(tiny_base), seed, 0.02 * seed)),
        ):
            folder = tmp_path_factory.mktemp(f"{kind}{seed}")
            network.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[kind].append(folder)
    return made


def plain_reward(folder: Path) -> Callable[[str, str], float]:
    """Reward of a response by transformers alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def reward(prompt: str, text: str) -> float:
        chat = tokenizer.apply_chat_template(chat_templates.conversation(prompt, text), tokenize=False)
        with torch.no_grad():
            return model(**tokenizer(chat, return_tensors="pt")).logits.item()

    return reward


def sample(tmp_path: Path, temperature: float = 1.0) -> tuple[list[dict], list[list[dict]]]:
    """Responses before the training, and two by each trained policy, whose prompts come in another order."""
    before = [
        answered(str(n), prompt, [f"One {n}.", "of the candidates"], subset="a" if n else "b")
        for n, prompt in enumerate(PROMPTS)
    ]
    write_jsonl(tmp_path / "samples/0/eval/en.jsonl", before)
    after = []
    for place in range(2):
        rows = [
            answered(str(n), prompt, [f"It is {n + place}.", f"No, {place}"], finished=[True, False])
            for n, prompt in enumerate(PROMPTS)
        ]
        write_jsonl(tmp_path / f"answers/{place}/eval/en.jsonl", rows[::-1])
        after.append(rows)
    samples.SampleCounts(decoding={"eval": {"temperature": temperature}}, policies=[]).write(tmp_path / "answers")
    return before, after


def run(tmp_path: Path, models: dict[str, list[Path]], tiny_base: Path) -> dict[str, float]:
    config = gains.Config(language="en", labelers=("en", "de+en"))
    return gains.run(
        config, samples=[tmp_path / "samples"], answers=[tmp_path / "answers"], reward_models=models["rewards"],
        policy=tiny_base, policies=models["policies"], output=tmp_path / "gains",
    )  # fmt: skip


def test_the_stage_writes_increases_and_divergences_by_policy(models, tiny_base, tmp_path) -> None:
    before, after = sample(tmp_path)
    kept = [
        ObservedResponse(step=step, prompt=PROMPTS[n], response=f"{n + step} is it.", first=f"{n + 1} is it.", kl=n / 2)
        for step in (1, 4)
        for n in range(2)
    ]
    observed.write(models["policies"][1], kept)
    metrics = run(tmp_path, models, tiny_base)
    results = PolicyGains.read(tmp_path / "gains")
    assert (results.prompts, results.subsets, results.temperature) == (3, {"b": 1, "a": 2}, 1.0)
    assert {
        name: [(step.step, step.responses, step.kl) for step in steps] for name, steps in results.curves.items()
    } == {"de+en": [(1, 2, 0.25), (4, 2, 0.25)]}
    last = read_rows(tmp_path / "gains" / observed.SCORED)[-1]
    assert last["labeler"] == "de+en" and last["response"] == "5 is it."
    assert last["rewards"] == {
        name: pytest.approx(plain_reward(model)(PROMPTS[1], "5 is it."), abs=1e-5)
        for name, model in zip(("en", "de+en"), models["rewards"], strict=True)
    }
    known = {row["id"]: row for row in read_rows(tmp_path / "gains/rewards.jsonl")}
    reference = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    for place, (labeler, rows) in enumerate(zip(("en", "de+en"), after, strict=True)):
        for evaluator, model in zip(("en", "de+en"), models["rewards"], strict=True):
            reward = plain_reward(model)
            own = [np.mean([reward(row["prompt"], text) for text in row["responses"]]) for row in rows]
            gained = [mean - reward(row["prompt"], row["responses"][0]) for mean, row in zip(own, before, strict=True)]
            estimate = results.increases[labeler][evaluator]
            assert estimate.value == pytest.approx((gained[0] + np.mean(gained[1:])) / 2, abs=1e-5)
            assert metrics[f"increase/{labeler}/{evaluator}"] == estimate.value
            if labeler == "de+en":
                means = [
                    np.mean([reward(row.prompt, row.response) for row in kept if row.step == step]) for step in (1, 4)
                ]
                first = np.mean([reward(row.prompt, row.first or "") for row in kept if row.step == 1])
                steps = results.curves[labeler]
                assert [step.rewards[evaluator] for step in steps] == pytest.approx(means, abs=1e-5)
                assert [step.increases[evaluator] for step in steps] == pytest.approx([0, means[1] - first], abs=1e-5)
        policy = AutoModelForCausalLM.from_pretrained(models["policies"][place]).eval()
        tokenizer = loading.load_tokenizer(tiny_base)
        for row in rows:
            prompts, marks = [row["prompt"]] * 2, row["finished"]
            for at, (read, written) in enumerate(divergence.token_ids(tokenizer, prompts, row["responses"], marks)):
                p, q = (plain_log_probabilities(network, read, tuple(written[:-1])) for network in (policy, reference))
                value = (p.exp() * (p - q)).sum().item()
                assert known[row["id"]]["kl"][labeler][at] == pytest.approx(value, rel=1e-4)
        assert results.kl[labeler].value > 0 and results.characters[labeler] == 6.5
    assert results.kl["de+en"].value > results.kl["en"].value, "it moved twice as far"


def test_a_reward_model_is_no_policy_and_a_policy_no_reward_model(models, tiny_base, tmp_path) -> None:
    """Also where the output layer has the weights of the embeddings, so that none is missing."""
    sample(tmp_path)
    model, policy = models["rewards"][0], models["policies"][0]
    kind = json.loads((model / "config.json").read_text())["architectures"][0]
    with refused(ArtifactError, str(model), kind):
        run(tmp_path, models, model)
    with refused(ArtifactError, str(model), kind):
        run(tmp_path, models | {"policies": [model, policy]}, tiny_base)
    with refused(ArtifactError, f"{policy / 'config.json'}: num_labels", 2):
        run(tmp_path, models | {"rewards": [model, policy]}, tiny_base)


def test_a_kept_response_with_other_content_is_refused(tmp_path) -> None:
    write_jsonl(
        tmp_path / observed.FILE, [{"step": 1, "prompt": "Who?", "response": "Me."}, {"step": 1, "prompt": "Who?"}]
    )
    with refused(DataError, f"{tmp_path / observed.FILE}:2: response", None):
        observed.read(tmp_path)


def test_responses_to_other_prompts_are_refused(models, tiny_base, tmp_path) -> None:
    sample(tmp_path)
    write_jsonl(tmp_path / "answers/1/eval/en.jsonl", [answered("7", "Who?", ["Me."])])
    with refused(DataError, "gains: de+en", "0"):
        run(tmp_path, models, tiny_base)


def test_a_divergence_is_the_mean_of_the_prompts_means() -> None:
    assert policy_gains.mean_divergence([[1.0, 3.0], [5.0]], ["", ""]).value == pytest.approx(3.5)
