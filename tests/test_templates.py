"""Chat templates of any model: which of several counts, the date they write, and what they may not do."""

import threading
import time

import pytest
from refusals import refused
from test_families import score
from transformers import AutoTokenizer

from benchmarks.family_models import CHATS, MARKS, TURNS, Model, build, plain, tokenizer
from xlrm.errors import ArtifactError, DataError
from xlrm.models import chat_templates, loading, template_limits, templates
from xlrm.models.templates import TemplateRefusal
from xlrm.scorers import engines, fingerprints
from xlrm.scorers.interface import Scoring
from xlrm.scorers.score_file import score_file
from xlrm.store.jsonl import write_jsonl

DATED = "{%- set today = strftime_now('%B %d, %Y') %}{{ 'Today is ' + today + '.\n' }}" + TURNS
LLAMA = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = 'never' %}{%- endif %}{%- endif %}{{ date_string }}" + TURNS
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" + TURNS
)


def folder_of(folder, template):
    return build(folder, Model("llama", kind="decoder", template=template))


@pytest.mark.parametrize(
    ("template", "written"),
    [(DATED, "Today is July 26, 2024.\n" + TURNS), (LLAMA, "26 Jul 2024" + TURNS),
     ("{{ strftime_now('%I:%M %p, %-H h, %-d.%-m., %c') }}" + TURNS, "12:00 AM, 0 h, 26.7., Fri Jul 26 00:00:00 2024" + TURNS),
     ({"rag": "{{ 1 / 0 }}", "default": DATED}, "Today is July 26, 2024.\n" + TURNS)],
    ids=["granite", "llama", "time", "named"],
)  # fmt: skip
def test_the_models_own_markup_with_a_fixed_date(tmp_path, template, written: str) -> None:
    folder = folder_of(tmp_path, template)
    scorer = engines.load(folder, Scoring())
    assert scorer.score(CHATS) == pytest.approx(plain(folder, template=written), abs=2e-5)
    fingerprints.write(folder, scorer)
    assert engines.load(folder, Scoring()).score(CHATS) == scorer.score(CHATS)


def test_a_template_is_pinned_once(tmp_path) -> None:
    """And whoever reads the folder of a trained model writes the same text."""
    words = tokenizer(template=DATED)
    for _ in range(2):
        words.save_pretrained(tmp_path)
        words = loading.load_tokenizer(tmp_path)
    text = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(CHATS[0], tokenize=False)
    assert text.startswith("Today is July 26, 2024.\n<|user|>") and words.chat_template.count("macro strftime_now") == 1


def test_named_templates_without_a_default_are_refused(tmp_path) -> None:
    with refused(ArtifactError, tmp_path):
        score(folder_of(tmp_path, {"tool_use": TURNS, "rag": TURNS}))


def test_without_a_template_there_is_no_reward(tmp_path) -> None:
    with refused(ArtifactError, tmp_path):
        score(folder_of(tmp_path, None))


@pytest.mark.parametrize(
    ("template", "messages", "reason"),
    [
        (NO_SYSTEM, [{"role": "system", "content": "Be short."}, *CHATS[0]], "System role not supported"),
        (ALTERNATING, [CHATS[0][0], *CHATS[0]], "Roles must alternate"),
        (TURNS + "{{ messages[0]['name'] + 1 }}", CHATS[0], "has no attribute 'name'"),
        (TURNS + "{% if %}", CHATS[0], "Expected an expression"),
    ],
    ids=["system", "alternate", "attribute", "syntax"],
)
def test_a_conversation_that_the_template_refuses_is_one_line(tmp_path, template, messages, reason: str) -> None:
    folder = folder_of(tmp_path / "model", template)
    rows = [{"messages": messages}] if "{% if %}" in template else [{"messages": CHATS[0]}, {"messages": messages}]
    rows = rows[-1:] if "'name'" in template else rows
    write_jsonl(tmp_path / "in.jsonl", rows)
    with refused(DataError, f"{tmp_path / 'in.jsonl'}:{len(rows)}") as caught:
        score_file(lambda: folder, tmp_path / "in.jsonl", tmp_path / "out.jsonl", Scoring())
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% for i in range(3) %}{{ f(n + 1) if n < 60 }}{% endfor %}{% endmacro %}{{ f(0) }}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(monkeypatch, template: str) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    begun = time.monotonic()
    with refused(TemplateRefusal, "conversation 1"):
        templates.render(tokenizer(template=template), CHATS)
    assert time.monotonic() - begun < 5


def test_a_template_that_writes_too_much_is_refused() -> None:
    template = "{{ 'one ' * 500000 }}" + TURNS
    with refused(TemplateRefusal, "conversation 1"):
        templates.render(tokenizer(template=template), CHATS)


@pytest.mark.parametrize("hostile", ["{{ 9 ** 9 ** 9 }}", "{{ 'a' * 10_000_000_000 }}"])
def test_what_no_limit_can_stop_is_refused(hostile: str) -> None:
    templates.prepare(tokenizer(template="{{ dict(a=1, **messages[0]) }}" + TURNS), "here")
    with refused(ArtifactError, "here: chat template, line 2"):
        templates.prepare(tokenizer(template=f"{{# #}}\n{hostile}"), "here")


HUGE = "{% set many = ['a' * 9000] * 9000 %}{% set ns = namespace(x='aaaaaaaa', n=999999) %}"
OPERATIONS = {
    "product": "'a' * 9000 * 9000", "list": "[0] * 9000 * 9000", "percent": "'%9999999d' % 1",
    "star": "'%*d' % ('9999999'|int, 1)",
    "join": "many|join", "join, method": "''.join(many)", "string": "many|string", "concatenation": "many ~ ''",
    "macro": "wide()", "replace": "('a' * 9000)|replace('a', 'b' * 9000)",
    "replace, method": "('a' * 9000).replace('a', 'b' * 9000)",
    "center": "'a'|center('9999999'|int)", "ljust": "'a'.ljust('9999999'|int)", "zfill": "'a'.zfill('9999999'|int)",
    "format": "'{:>9999999}'.format(1)", "nested": "'{:>{}}'.format(1, '9999999'|int)", "indent": "('\n' * 9000)|indent(9000)",
    "tabs": "('\t' * 9000).expandtabs(9000)", "tojson": "([0] * 9000)|tojson(indent=9000)",
    "bytes": "(5).to_bytes('9999999'|int, 'big')",
    "mapped": "('ab' * 9000)|list|map('center', 9000)|join", "sum": "([[0] * 9000] * 9000)|sum(start=[])",
    "round": "1.5|round('9999999'|int, 'ceil')", "translate": "('a' * 9000).translate({97: 'b' * 9000})",
}  # fmt: skip
GROWING = {
    "~": "{% for i in range(30) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "+": "{% for i in range(30) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "numbers": "{% for i in range(12) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ 1 / 0 if ns.n == 1 }}",
    "output": "{% for part in many %}{{ part }}{% endfor %}",
    "block": "{% set y %}{% for part in many %}{{ part }}{% endfor %}{% endset %}",
    "a list as text": "{{ many }}", "a namespace as text": "{% set ns.x = many %}{{ ns }}",
} | {
    name: "{% macro wide() %}{% for part in many %}{{ part }}{% endfor %}{% endmacro %}{{ (" + one + ")|length if many }}"
    for name, one in OPERATIONS.items()
}  # fmt: skip


@pytest.mark.parametrize("growing", GROWING)
def test_no_operation_makes_too_much(monkeypatch, growing: str) -> None:
    """The time limit stops no operation, and the memory would be gone before it."""
    monkeypatch.setattr(template_limits, "SIZE", 300_000)
    words = tokenizer(template=HUGE + GROWING[growing] + TURNS)
    with refused(TemplateRefusal, "conversation 1") as caught:
        templates.render(words, CHATS)
    assert "a single operation makes" in caught.value.message or "bits" in caught.value.message


def test_a_template_that_keeps_too_much_is_stopped(monkeypatch) -> None:
    monkeypatch.setattr(templates, "_BYTES", 100 * 2**20)
    template = (
        "{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = ns.x + ['a' * 999999 ~ i] %}{% endfor %}"
    )
    with refused(TemplateRefusal, "conversation 1"):
        templates.render(tokenizer(template=template), CHATS)


RICH = """{%- macro shown(one, indent=2) -%}{{ one|tojson(indent=indent) }}{{ '%-8s|%.2f' % ('a', 1.5) }}{%- endmacro -%}
{%- set ns = namespace(text='', count=0) -%}
{{- bos_token ~ (tools or 'no tools') ~ documents ~ add_generation_prompt }}
{%- for m in messages %}
    {%- if m.role == 'system' %}{% continue %}{% endif %}
    {%- set ns.text = ns.text ~ m['content'] + '!' -%}
    {%- set ns.count = ns.count * 3 + loop.index0 % 2 -%}
    {%- if m.role == 'assistant' %}{% generation %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% endgeneration %}
    {%- else %}<|{{ m.role|upper }}|>{{ m.content|trim|replace('o', '00')|indent(4) }}{% endif %}
    {{- shown(m) }}{{ '{:>5}|{}'.format(ns.count, m.content) }}{{ m.content.replace('l', 'L').center(90) }}
{% endfor %}{{ ns.text|wordwrap(20) }}{{ messages|map(attribute='role')|join(', ') }}{{ messages[0] }}{{ [1, none, 2.5] }}
{{- messages|selectattr('role', 'equalto', 'user')|list|length }}{{ strftime_now is defined }}{{ missing }}
{{- 7 // 2 }}{{ -7 % 3 }}{{ eos_token * 2 }}{{ [1] + [2] }}{{ ns }}
"""


@pytest.mark.parametrize("options", [{}, {"add_generation_prompt": True}])
def test_the_text_is_that_of_transformers(options: dict) -> None:
    words = tokenizer(template=RICH)
    for extra in ({}, {"bos_token": None}):
        words = tokenizer(template=RICH, **extra)
        chats = [
            *CHATS,
            [{"role": "system", "content": "So."}, *CHATS[0], {"role": "tool", "content": "<think>a</think>\nb"}],
        ]
        expected = [words.apply_chat_template(chat, tokenize=False, **options) for chat in chats]
        assert templates.render(words, chats, **options) == expected


def test_the_time_limit_is_of_each_conversation_and_leaves_no_thread(monkeypatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    words, before = tokenizer(), threading.active_count()
    chats = CHATS * 1000
    begun = time.monotonic()
    while time.monotonic() - begun < 0.7:
        assert len(templates.render(words, chats)) == len(chats)
    time.sleep(0.2)
    assert threading.active_count() == before


def test_a_turns_end_is_no_padding(tmp_path) -> None:
    """A reward model to be trained, which reads its last token that is not padding."""
    for pad in ("</s>", "<|end|>", None):
        tokenizer(template=TURNS.replace("<|end|>\n", "<|end|>"), pad_token=pad).save_pretrained(tmp_path)
        assert loading.reward_tokenizer(tmp_path).pad_token == loading.PAD_TOKEN
    tokenizer().save_pretrained(tmp_path)
    assert loading.reward_tokenizer(tmp_path).pad_token == MARKS[0]


def test_a_bos_that_only_the_tokenizer_writes_is_in_the_template_of_what_is_trained(tmp_path) -> None:
    """TRL's trainer for policies adds no special tokens."""
    tokenizer("bos").save_pretrained(tmp_path)
    words = loading.load_tokenizer(tmp_path)
    (ids,) = chat_templates.encode(words, CHATS[:1], 999)
    assert words.apply_chat_template(CHATS[0], return_dict=False) == ids
    assert ids[0] == words.bos_token_id and ids.count(words.bos_token_id) == 1
