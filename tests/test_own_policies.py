"""`xlrm align`: from one's own prompts and a reward model to a trained policy."""

from pathlib import Path

import pytest
from phrasebook_settings import sections
from refusals import refused
from reward_server import new_model
from test_online_rl import answering
from typer.testing import CliRunner

from benchmarks.reward_training import apart, weights_of
from xlrm.cli import app
from xlrm.data import catalog
from xlrm.errors import ConfigError
from xlrm.models import chat_templates, loading
from xlrm.run import forecast, own_policies
from xlrm.run.experiment import build
from xlrm.run.workloads import Item, Texts
from xlrm.scorers import online
from xlrm.store import addresses
from xlrm.store.jsonl import write_jsonl

SHORT = {
    "dpo": (
        "sample.max_new_tokens=8",
        "sample.samples=3",
        "rank.unfinished=keep",
        "align.batch_size=6",
        "align.max_length=64",
        "align.learning_rate=1e-3",
    ),
    "rloo": ("rl.max_new_tokens=8", "rl.group=3", "rl.batch_size=6", "rl.steps=2", "rl.learning_rate=1e-3"),
}


@pytest.fixture
def folder(tiny_base, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = catalog.load(catalog.PROMPTS, "phrasebook", "en", 12, 1, ("prompt",)).rows
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in rows])
    new_model(tiny_base, tmp_path / "judge")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("method", SHORT)
def test_a_policy_is_trained_on_ones_own_prompts_and_a_second_run_finds_it(method, tiny_base, folder) -> None:
    given = [
        "--method",
        method,
        "--policy",
        tiny_base,
        "--reward",
        "judge",
        "--prompts",
        "prompts.jsonl",
        "--output",
        "mine",
    ]
    first = CliRunner().invoke(app, ["align", *map(str, given), *SHORT[method]])
    assert first.exit_code == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "policy mine" and "steps 2" in first.stdout
    assert apart(weights_of(tiny_base), weights_of(folder / "mine")) > 0
    loading.load_causal_lm(folder / "mine")
    again = CliRunner().invoke(app, ["align", *map(str, given), *SHORT[method]])
    assert again.exit_code == 0 and again.stdout == first.stdout and "started" not in again.stderr


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--policy", "nowhere", "--policy='nowhere': not the name of a model"),
        ("--policy", "./empty", "--policy: ./empty: not a model"),
        ("--reward", "nowhere", "--reward='nowhere': not the name of a model"),
        ("--prompts", "other.jsonl", "--prompts='other.jsonl': no such file"),
        ("--language", "xx", "--language='xx': no such language"),
        ("--output", "judge", "--output='judge': exists"),
        ("--output", "prompts.jsonl", "--output='prompts.jsonl': exists"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(option, value, error, tiny_base, folder) -> None:
    (folder / "empty").mkdir()
    given = {"--policy": str(tiny_base), "--reward": "./judge", "--prompts": "prompts.jsonl", "--output": "new"}
    arguments = [part for pair in (given | {option: value}).items() for part in pair]
    result = CliRunner().invoke(app, ["align", *arguments])
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2 and line.startswith(f"error: {error}"), line
    assert not (folder / "new").exists() and not (addresses.home() / "work").exists()


def test_settings_are_those_of_the_methods_stages() -> None:
    def settings(method: str, reward: str = "judge", fields=()) -> own_policies.Settings:
        return own_policies.settings(method, "policy", reward, "prompts.jsonl", "es", fields)

    assert list(settings("dpo")) == ["curate", "validate", "sample", "rank", "align"]
    assert list(settings("grpo")) == ["curate", "validate", "rl"]
    url = "http://HOST:8000/get_reward"
    assert settings("rloo", url)["rl"] == {"language": "es", "labeler": "reward", "method": "rloo", "reward_url": url}
    assert own_policies.sized(settings("grpo"), "rl", 60)["batch_size"] == 2 * 8, "two prompts a step, in 30 steps"
    assert own_policies.sized(settings("grpo"), "rl", 10_000)["batch_size"] == 128
    with refused(ConfigError, "--method", "ppo"):
        settings("ppo")
    with refused(ConfigError, "--reward", url):
        settings("dpo", url)
    for method, where in (("rloo", "rl.reward_url"), ("dpo", "--reward")):
        with refused(ConfigError, where, url) as raised:
            settings(method, "http://me:secret@HOST:8000/get_reward")
        assert "secret" not in str(raised.value), "settings and messages are kept"
    with refused(ConfigError, "align.beta", 0.2):
        settings("grpo", fields=[("align.beta", 0.2)])
    with refused(ConfigError, "rl.batch_size", 9):
        settings("grpo", fields=[("rl.batch_size", 9)])


def test_the_estimate_counts_what_a_policy_writes_and_what_is_read_and_learned_again() -> None:
    """With everything of one length: tokens of prompt and response, for each group, policy and pass."""
    texts = Texts(pairs=[Item(40, (80,))], train_prompts=[40.0] * 10)

    def row(**rl) -> forecast.Row:
        given = sections(base={"model": "Qwen/Qwen2.5-3B-Instruct"}, rl=rl)
        made = forecast.rows(build({"name": "x", "targets": [], **given}, {}, "test"), texts, fetch=False)
        (found,) = [each for each in made if each.stage == "rl"]
        return found

    base = row(group=8, batch_size=8, epochs=1, gradient_checkpointing=False, beta=0, reward_url="http://a/get_reward")
    assert "1 policies, 10 prompts x 8 responses x 1 passes" in base.what
    tokens = 10 * 8 * (40 + 80)
    assert base.tokens == pytest.approx(tokens * forecast.effort.tokens_of(1, *[forecast.LANGUAGES["en"]] * 2))
    twice = row(group=8, batch_size=8, steps=20, gradient_checkpointing=False, beta=0, reward_url="http://a/get_reward")
    assert twice.flop == pytest.approx(2 * base.flop), "20 steps of one prompt are two passes over ten"
    read = row(group=8, batch_size=8, gradient_checkpointing=False, method="rloo")
    assert read.flop == pytest.approx(base.flop / 4 * 7), (
        "written, trained (3); with reference, old policy and reward: + 3"
    )


def test_a_server_is_sent_the_conversation_that_the_policy_read(tiny_base) -> None:
    """With a system message that the policy's template does not take: it goes before the user's, as in sampling."""
    words = loading.load_tokenizer(tiny_base)
    words.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        "{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much?"}]
    with answering(lambda texts: [1.5]) as (url, asked):
        assert online.Server(url, words, 5).of([chat_templates.conversation(prompt, "One.")]) == [1.5]
    assert asked == [["user: Be brief.\n\nHow much?\nassistant: One.\n"]]
