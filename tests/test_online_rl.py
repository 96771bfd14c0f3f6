"""Reinforcement learning with a reward model: TRL's numbers computed again, rewards that are equal, zero, missing or late."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_mt5 as tiny_mt5_model
import torch
from pydantic import ValidationError
from refusals import refused
from reward_server import new_model, started
from test_policies import policy as without_pad_token

from benchmarks.reward_training import apart
from benchmarks.reward_training import log_of as log
from benchmarks.reward_training import weights_of as weights
from xlrm.data.catalog import PREFERENCES
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation import observed, policy_gains
from xlrm.evaluation.observed import ObservedStep, ScoredResponse
from xlrm.models import chat_templates, loading
from xlrm.scorers import engines, online
from xlrm.scorers.interface import Scoring
from xlrm.stages import rl
from xlrm.store.jsonl import write_jsonl
from xlrm.training import online_rl, response_logprobs
from xlrm.training.recipes import OnlineTraining
from xlrm.training.rollouts import Writer

TRAINING = {
    "language": "en", "labeler": "en", "batch_size": 12, "group": 3, "device_batch_size": 12, "max_new_tokens": 8,
    "max_length": 128, "learning_rate": 1e-3, "warmup": 0.0, "steps": 2, "log_steps": 1, "gradient_checkpointing": False,
    "temperature": 0.7, "beta": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    rows = PREFERENCES["phrasebook"].rows("en", 12, 0)
    prompts = [{"id": str(i), "prompt": row["prompt"], "split": "train"} for i, row in enumerate(rows)]
    write_jsonl(folder / "en" / "prompts.jsonl", [*prompts, {"id": "judged", "prompt": "Never.", "split": "eval"}])
    return folder


@pytest.fixture(scope="module")
def tiny_mt5(tmp_path_factory) -> Path:
    """With embeddings, which are those of its output too, by which it ends some responses early."""
    from transformers import AutoModelForSeq2SeqLM

    folder = tiny_mt5_model.save(tmp_path_factory.mktemp("mt5"))
    network = AutoModelForSeq2SeqLM.from_pretrained(folder)
    with torch.no_grad():
        network.lm_head.weight *= 0.2
        network.lm_head.weight[tiny_mt5_model.EOS] *= 8
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judge(tiny_base, tmp_path_factory) -> Path:
    return new_model(tiny_base, tmp_path_factory.mktemp("reward"))


def train(base: Path, model: Path | None, corpora: Path, work: Path, **changes) -> tuple[dict[str, float], Path]:
    output = work / "output"
    output.mkdir(parents=True, exist_ok=True)
    config = rl.Config(**TRAINING | changes)
    return rl.run(config, policy=base, reward_model=model, corpora=corpora, output=output), output


@pytest.fixture
def rollouts(monkeypatch) -> list[dict]:
    """What was read, written and scored in each generation."""
    seen: list[dict] = []
    written, of = Writer.written, online.InProcess.of

    def write(self, network, encoded, seeds):
        rows = written(self, network, encoded, seeds)
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        seen.append({"read": encoded, "written": rows, "weights": weights})
        return rows

    def score(self, conversations):
        seen[-1]["chats"] = conversations
        return of(self, conversations)

    monkeypatch.setattr(Writer, "written", write)
    monkeypatch.setattr(online.InProcess, "of", score)
    return seen


# The same as a plain computation


def log_probabilities(model, read: list[int], written: list[int]) -> torch.Tensor:
    """Log-probability of each written token, by transformers alone, a sequence at a time."""
    if model.config.is_encoder_decoder:
        before = torch.tensor([[tiny_mt5_model.PAD, *written[:-1]]])
        logits = model(input_ids=torch.tensor([read]), decoder_input_ids=before).logits[0]
    else:
        logits = model(input_ids=torch.tensor([read + written])).logits[0, len(read) - 1 : -1]
    scaled = (logits.double() / TRAINING["temperature"]).log_softmax(-1)
    return scaled.gather(1, torch.tensor(written)[:, None])[:, 0]


def plain_rewards(folder: Path, chats: list) -> torch.Tensor:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits[0].double() for text in texts])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_base", "tiny_mt5"])
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_rewards_kl_divergence_and_loss_are_those_of_a_plain_computation(
    method, kind, judge, corpora, tmp_path, rollouts, request
) -> None:
    """In the second step, when the policy is no longer the reference. GRPO reports the estimator k3 of the KL divergence,
    RLOO k1 (Schulman 2020), both as the mean over tokens; padding counts in neither."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    base = request.getfixturevalue(kind)
    found, output = train(base, judge, corpora, tmp_path, method=method, max_new_tokens=32)
    step, last = rollouts[1], log(output)[1]
    pairs = list(zip(step["read"], step["written"], strict=True))
    assert len({len(row) for row in step["written"]}) > 1, "without padding this shows less"
    auto = AutoModelForSeq2SeqLM if kind == "tiny_mt5" else AutoModelForCausalLM
    reference, policy = (auto.from_pretrained(base).eval() for _ in range(2))
    policy.load_state_dict(step["weights"])
    with torch.no_grad():
        before = torch.cat([log_probabilities(reference, *pair) for pair in pairs])
    after = torch.cat([log_probabilities(policy, *pair) for pair in pairs])
    k1, k3 = after - before, (before - after).exp() - (before - after) - 1
    tokens = torch.tensor([len(row) for _, row in pairs])
    rewards = plain_rewards(judge, step["chats"])
    assert last["reward"] == pytest.approx(rewards.mean().item(), abs=1e-6)
    assert not (output / observed.FILE).exists(), "without observe_steps"
    if method == "grpo":
        groups = rewards.view(-1, 3)
        advantages = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
        ratios = (after - after.detach()).exp()
        # The ratio is 1, and not without a gradient: with it, that of k3 is that of the KL divergence (DeepSeek-V3.2).
        loss = ((TRAINING["beta"] * k3 - advantages.view(-1).repeat_interleave(tokens)) * ratios).mean()
    else:
        penalties = torch.stack([part.sum() for part in k1.detach().split(tokens.tolist())])
        groups = (rewards - TRAINING["beta"] * penalties).view(-1, 3)
        advantages = groups - (groups.sum(1, keepdim=True) - groups) / 2
        ratios = torch.stack([part.sum() for part in (after - after.detach()).split(tokens.tolist())]).exp()
        loss = -(advantages.view(-1) * ratios).mean()
    assert last["kl"] == pytest.approx((k3 if method == "grpo" else k1).mean().item(), abs=1e-6)
    # A group's advantages add up to 0, so RLOO's loss is rounding alone, which grows with them; its gradient says more.
    size = 1.0 if method == "grpo" else max(1.0, advantages.abs().mean().item())
    assert last["loss"] == pytest.approx(loss.item(), abs=1e-5 * size)
    loss.backward()
    norm = torch.stack([tensor.grad.norm() for tensor in policy.parameters() if tensor.grad is not None]).norm()
    assert last["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
    assert found["steps"] == 2 and found["prompts"] == 12 and found["train_reward"] == last["reward"]


@pytest.mark.parametrize(("kind", "more"), [("gpt2", {}), ("llama", {"num_key_value_heads": 2})])
def test_log_probabilities_of_a_padded_batch_are_those_of_each_sequence(kind, more) -> None:
    """GPT-2's positions are absolute: padding on the left would move them."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | more
    if kind == "llama":
        sizes["intermediate_size"] = 48
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    rows = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11, 12]), ([13, 14, 15, 16, 17], [18])]
    ids = torch.tensor([[0] * (5 - len(read)) + read + wrote + [0] * (4 - len(wrote)) for read, wrote in rows])
    mask = torch.tensor([[0] * (5 - len(r)) + [1] * len(r + w) + [0] * (4 - len(w)) for r, w in rows])
    with torch.no_grad():
        plain = [
            model(input_ids=torch.tensor([read + wrote])).logits[0, len(read) - 1 : -1].log_softmax(-1)
            for read, wrote in rows
        ]
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        found, entropies = response_logprobs.of_decoder(model, ids, mask, 4)
    for place, (_, wrote) in enumerate(rows):
        one = plain[place].gather(1, torch.tensor(wrote)[:, None])[:, 0]
        assert found[place].tolist() == pytest.approx([*one.tolist(), *[0.0] * (4 - len(wrote))], abs=1e-5)
        assert entropies[place, : len(wrote)].tolist() == pytest.approx(
            (-(plain[place].exp() * plain[place]).sum(1)).tolist(), abs=1e-5
        )


@pytest.mark.slow
def test_a_batch_changes_no_response_and_a_kill_no_weight(
    tiny_base, judge, corpora, tmp_path, rollouts, monkeypatch
) -> None:
    changes = {"steps": 4, "save_steps": 2}
    _, whole = train(tiny_base, judge, corpora, tmp_path / "whole", **changes)
    first = [row["written"] for row in rollouts]
    assert len({tuple(row) for row in first[0]}) > 6, "responses to a prompt differ"
    rollouts.clear()
    of, calls = online.InProcess.of, []

    def interrupted(self, conversations):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return of(self, conversations)

    small = changes | {"device_batch_size": 2, "generation_batch": 5}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(online.InProcess, "of", interrupted)
        train(tiny_base, judge, corpora, tmp_path / "cut", **small)
    assert [row["written"] for row in rollouts[:2]] == first[:2]
    rollouts.clear()
    _, cut = train(tiny_base, judge, corpora, tmp_path / "cut", **small)
    assert [row["written"] for row in rollouts] == first[2:], "only the steps after the checkpoint"
    assert apart(weights(whole), weights(cut)) < 1e-5
    assert [entry["reward"] for entry in log(cut)] == pytest.approx([entry["reward"] for entry in log(whole)], abs=1e-5)


# What other reward models say of the responses


@pytest.mark.slow
def test_rewards_in_the_course_of_a_training_are_those_of_a_plain_computation_also_after_a_kill(
    tiny_base, judge, corpora, tmp_path, rollouts, monkeypatch
) -> None:
    """Steps 1, 2 and 3, the last, are kept; the policy that is trained writes each time before the first one does."""
    from transformers import AutoModelForCausalLM

    other = tmp_path / "other"
    shutil.copytree(judge, other)
    loading.new_reward_model(tiny_base, loading.load_tokenizer(tiny_base), seed=9).save_pretrained(other)
    changes = {"steps": 3, "save_steps": 1, "observe_steps": 2}
    _, whole = train(tiny_base, judge, corpora, tmp_path / "whole", **changes)
    seen = list(rollouts)
    assert len(seen) == 6
    kept = observed.read(whole)
    (_, scored) = policy_gains.rewards([], {"en": kept}, ("en", "de+en"), (judge, other), Scoring(), tmp_path / "gains")
    steps = observed.curve(scored["en"])
    assert [(each.step, each.responses) for each in steps] == [(1, 12), (2, 12), (3, 12)]
    assert steps[0].kl == 0 and steps[0].increases == {"en": 0.0, "de+en": 0.0}
    last, rows = steps[2], [row for row in kept if row.step == 3]
    chats = [
        [chat_templates.conversation(row.prompt, text) for row, text in zip(rows, texts, strict=True)]
        for texts in ([row.response for row in rows], [row.first for row in rows])
    ]
    assert chats[0] == seen[4]["chats"] and chats[0] != chats[1]
    for name, model in (("en", judge), ("de+en", other)):
        own, first = (plain_rewards(model, each) for each in chats)
        assert last.rewards[name] == pytest.approx(own.mean().item(), abs=1e-5)
        assert last.increases[name] == pytest.approx((own - first).mean().item(), abs=1e-5)
    policy, first = (AutoModelForCausalLM.from_pretrained(tiny_base).eval() for _ in range(2))
    policy.load_state_dict(seen[4]["weights"])
    divergences = []
    for read, written in zip(seen[4]["read"], seen[4]["written"], strict=True):
        ids = torch.tensor([[*read, *written[:-1]]])
        with torch.no_grad():
            p, q = (
                (network(ids).logits[0, len(read) - 1 :].double() / TRAINING["temperature"]).log_softmax(-1)
                for network in (policy, first)
            )
        divergences.append((p.exp() * (p - q)).sum().item())
    assert [row.kl for row in rows] == pytest.approx(divergences, rel=1e-4)
    assert last.kl == pytest.approx(sum(divergences) / 12, rel=1e-4) and last.kl > 0

    of, calls = online.InProcess.of, []

    def interrupted(self, conversations):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return of(self, conversations)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(online.InProcess, "of", interrupted)
        train(tiny_base, judge, corpora, tmp_path / "cut", **changes)
    _, cut = train(tiny_base, judge, corpora, tmp_path / "cut", **changes)
    assert (cut / observed.FILE).read_text() == (whole / observed.FILE).read_text()


def test_a_step_without_a_reference_has_rewards_alone() -> None:
    rows = [ScoredResponse(step=5, prompt="Who?", response="Me.", rewards={"en": reward}) for reward in (1.0, 2.0)]
    (step,) = observed.curve(rows)
    assert step == ObservedStep(step=5, responses=2, rewards={"en": 1.5})
    assert observed.points({"de": [step]}) == [{"step": 5, "observed_reward/de/en": 1.5}]


# Rewards that are equal, zero, missing or late


@contextmanager
def answering(rewards: Callable[[list[str]], list | int]) -> Iterator[tuple[str, list[list[str]]]]:
    """A reward server whose answer to the texts of a request is a list of rewards, or an HTTP status, or, for 0, none."""
    asked: list[list[str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body["query"])
            answer = rewards(body["query"])
            if answer == 0:
                self.close_connection = True
                return
            status = answer if isinstance(answer, int) else 200
            sent = {"error": {"message": "no such turn"}} if isinstance(answer, int) else {"rewards": answer}
            content = json.dumps(sent).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/get_reward", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "reward"), [("grpo", 0.0), ("grpo", 0.1), ("rloo", 0.1)])
def test_equal_rewards_move_nothing(method, reward, tiny_base, corpora, tmp_path) -> None:
    """The mean of three float32 numbers 0.1 is another number: the advantage must be 0 all the same. 0.0 is a reward."""
    with answering(lambda texts: [reward] * len(texts)) as (url, _):
        found, output = train(tiny_base, None, corpora, tmp_path, method=method, reward_url=url, beta=0)
    assert apart(weights(tiny_base), weights(output)) == 0
    for entry in log(output):
        assert (entry["loss"], entry["gradient_norm"], entry["reward_spread"]) == (0, 0, 0)
        assert (entry["equal_groups"], entry["missing_rewards"]) == (1, 0)
        assert entry["reward"] == pytest.approx(reward)
    assert "train_kl" not in found


def letters(texts: list[str]) -> list[float]:
    """1 for a text with an even number of letters e, else 0."""
    return [float(text.count("e") % 2 == 0) for text in texts]


@pytest.mark.slow
def test_a_reward_of_zero_is_a_reward_and_a_refused_response_has_none(
    tiny_base, corpora, tmp_path, monkeypatch
) -> None:
    """Zeros and ones train as ones and twos do, also where the server is away for a while. A response that it refuses is
    left out of its group."""
    slept: list[float] = []
    monkeypatch.setattr(online.time, "sleep", slept.append)
    away = iter([0, 503, None, 0, 503, 429])
    made = []
    for place, shift in enumerate((0.0, 1.0)):

        def shifted(texts: list[str], by: float = shift) -> list | int:
            failure = next(away, None) if by else None
            return [value + by for value in letters(texts)] if failure is None else failure

        with answering(shifted) as (url, asked):
            made.append(train(tiny_base, None, corpora, tmp_path / str(place), reward_url=url)[1])
    assert slept == [1, 2, 1, 2, 4], "twice away"
    assert 0 < log(made[0])[0]["reward"] < 1, "zeros and ones"
    assert apart(weights(made[0]), weights(made[1])) == 0 < apart(weights(tiny_base), weights(made[0]))
    assert all(text.startswith("<|user|>") and text.endswith("<|end|>") for text in asked[0])

    def refusing(texts: list[str]) -> list | int:
        return 422 if any(len(text) % 3 == 0 for text in texts) else letters(texts)

    with answering(refusing) as (url, asked):
        _, output = train(tiny_base, None, corpora, tmp_path / "refused", reward_url=url)
    share = sum(len(text) % 3 == 0 for text in asked[0]) / 12
    assert log(output)[0]["missing_rewards"] == pytest.approx(share) and 0 < share < 1
    assert all(tensor.isfinite().all() for tensor in weights(output).values())
    with answering(lambda texts: 422) as (url, _), refused(ArtifactError, url) as raised:
        train(tiny_base, None, corpora, tmp_path / "all", reward_url=url)
    assert "no such turn" in raised.value.message


@pytest.mark.slow
def test_xlrms_own_server_gives_the_rewards_of_the_model_in_this_process(tiny_base, judge) -> None:
    """For texts in the policy's template and for messages; and those of transformers alone."""
    texts = ("One.", "", "Dos.\n\nTres: 四 <b>", "word " * 30)
    chats = [chat_templates.conversation(f"How much is {place}?", text) for place, text in enumerate(texts)]
    inside = online.InProcess(engines.load(judge, Scoring())).of(chats)
    assert inside == pytest.approx(plain_rewards(judge, chats).tolist(), abs=1e-6)
    with started(judge) as server:
        for path in ("get_reward", "v1/rewards"):
            asked = online.Server(f"{server.url}/{path}", loading.load_tokenizer(tiny_base), 60)
            assert asked.of(chats) == inside


def test_a_server_that_goes_away_is_asked_again_until_the_limit(tiny_base, monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(online.time, "sleep", slept.append)
    chats = [chat_templates.conversation("How much?", text) for text in ("One.", "Two.")]
    tokenizer = loading.load_tokenizer(tiny_base)
    answers = iter([503, 0, 429, [0.0, -1.5]])
    with answering(lambda texts: next(answers)) as (url, asked):
        assert online.Server(url, tokenizer, 60).of(chats) == [0.0, -1.5]
    assert len(asked) == 4 and slept == [1, 2, 4] and asked[0] == asked[3]
    with refused(ArtifactError, url) as raised:  # nobody listens there any more
        online.Server(url, tokenizer, 0).of(chats)
    assert raised.value.hint


@pytest.mark.parametrize(
    "answer", [[1.0], [1.0, None], [1.0, 1e400], 401], ids=["too few", "null", "infinite", "no token"]
)  # fmt: skip
def test_an_answer_that_has_not_every_reward_ends_the_training(answer, tiny_base) -> None:
    chats = [chat_templates.conversation("How much?", text) for text in ("One.", "Two.")]
    with answering(lambda texts: answer) as (url, asked), pytest.raises(ArtifactError) as raised:
        online.Server(url, loading.load_tokenizer(tiny_base), 60).of(chats)
    assert len(asked) == 1 and "\n" not in str(raised.value)


def test_a_conversation_that_the_reward_models_template_rejects_has_no_reward(judge, tmp_path) -> None:
    strict = shutil.copytree(judge, tmp_path / "strict")
    template = (strict / "chat_template.jinja").read_text()
    (strict / "chat_template.jinja").write_text(
        "{% if messages[-1]['content'] == 'No.' %}{{ raise_exception('not that') }}{% endif %}" + template
    )
    chats = [chat_templates.conversation("How much?", text) for text in ("One.", "No.", "One.")]
    rewards = online.InProcess(engines.load(strict, Scoring()))
    first, none, last = rewards.of(chats)
    assert (first, none) == (last, None) and first == pytest.approx(plain_rewards(judge, chats[:1]).item(), abs=1e-6)
    assert rewards.refusal == "not that"


# What is cut, padded, or cannot be


@pytest.mark.slow
def test_responses_that_are_all_cut_and_left_out_move_nothing(tiny_base, judge, corpora, tmp_path) -> None:
    _, output = train(
        tiny_base, judge, corpora, tmp_path, max_new_tokens=1, drop_cut=True, beta=0, steps=1, temperature=0.01
    )
    (entry,) = log(output)
    assert (entry["cut_responses"], entry["loss"], entry["gradient_norm"]) == (1, 0, 0)
    assert apart(weights(tiny_base), weights(output)) == 0


@pytest.mark.slow
def test_a_policy_without_a_pad_token_keeps_its_options_and_its_embeddings(corpora, tmp_path) -> None:
    """What its generation_config.json says of sampling does not count, and is there afterwards."""
    base = without_pad_token(tmp_path / "base", steps=5)
    options = json.loads((base / "generation_config.json").read_text()) | {
        "temperature": 0.01,
        "do_sample": True,
        "top_k": 1,
    }
    (base / "generation_config.json").write_text(json.dumps(options))
    judge = new_model(base, tmp_path / "judge")
    _, output = train(base, judge, corpora, tmp_path / "work", steps=1)
    assert log(output)[0]["reward_spread"] > 0, "top_k 1 would make all responses of a group equal"
    kept = json.loads((output / "generation_config.json").read_text())
    assert (kept["temperature"], kept["top_k"]) == (0.01, 1)
    assert loading.load_causal_lm(output).config.vocab_size == loading.load_causal_lm(base).config.vocab_size


def test_prompts_without_room_are_left_out_and_steps_have_each_prompt_once(tiny_base, tmp_path) -> None:
    config = OnlineTraining(language="en", batch_size=6, group=2, steps=5, max_length=32, max_new_tokens=12)
    fitting = online_rl._fitting(tiny_base, ["Hello.", "word " * 40, "Good day."], config, "rl[en]")
    assert fitting == ["Hello.", "Good day."]
    with refused(DataError, "rl[en]: prompts"):
        online_rl._fitting(tiny_base, ["word " * 40], config, "rl[en]")
    order = online_rl.training_order(7, config)
    steps = [order[start : start + 3] for start in range(0, 15, 3)]
    assert len(order) == 15 and all(len(set(step)) == 3 for step in steps) and steps[:2] != steps[2:4]
    assert len(set(order[:6])) == 6, "a pass has no prompt twice"
    assert len(online_rl.training_order(7, config.model_copy(update={"steps": None, "epochs": 2.5}))) == 15
    with refused(ConfigError, "rl.batch_size", 6):
        online_rl.training_order(2, config)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"batch_size": 10}, "batch_size"), ({"max_new_tokens": 128}, "max_new_tokens"), ({"temperature": 0}, "temperature"),
        ({"group": 1, "batch_size": 2}, "group"), ({"reward_url": "http://HOST:8000"}, "reward_url"),
        ({"method": "ppo"}, "method"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(changes, field) -> None:
    with pytest.raises(ValidationError) as raised:
        rl.Config(**TRAINING | changes)
    (error,) = raised.value.errors()
    assert field in (*error["loc"], error.get("ctx", {}).get("field"))
