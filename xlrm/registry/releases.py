"""Files registered with a reward model beside its weights: its full card, and what MLflow needs to load it.

README.md            the card: recipe, evaluation, data, licence, limits, origin
MLmodel, ...         the flavour python_function, with signature and input example, so that MLflow needs no copy of its own
fingerprint.json     rewards of probe conversations, computed by the stage evaluate
evaluation/          rewards.parquet, which the next challenger is compared with
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from xlrm import markdown_table
from xlrm.data import data_card
from xlrm.data.corpus_schema import PREFERENCE_PAIRS
from xlrm.data.data_card import DataCard
from xlrm.evaluation import reward_table
from xlrm.evaluation.results import EvaluationResults, Result
from xlrm.models.base_models import TINY
from xlrm.models.cards import RewardModelCard
from xlrm.registry import licence_terms, mlflow_loader
from xlrm.registry.licence_terms import Terms
from xlrm.scorers import fingerprints
from xlrm.scorers.fingerprints import Fingerprint
from xlrm.store import addresses
from xlrm.store.artifacts import Record
from xlrm.tracking.metric_keys import key as metric_key

REWARDS = f"evaluation/{reward_table.FILE}"
_LOADER = "xlrm_reward_model"
INPUTS = [
    {"name": name, "type": "any", "required": False}
    for name in ("messages", "prompt", "response", "tools", "system", "history", "chat_template_kwargs")
]
"""Columns of MLflow's signature; a row has `messages`, or `prompt` and `response`. Of any type, because MLflow would drop the
fields of a message that the signature does not name; the others are among them so that they are refused and not dropped."""
OUTPUTS = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]
EXAMPLE = [{"messages": chat} for chat in fingerprints.PROBES[:2]]
PHRASEBOOK = "phrasebook"
"""The translator that is not a model: its sentences belong to this project."""
REQUIRED = ("torch", "transformers", "numpy", "sentencepiece")


@dataclass(frozen=True)
class Facts:
    """What is known about a reward model when it is registered."""

    name: str
    """Name that it is registered under."""
    model: Path
    """The Hugging Face folder, with README.md and xlrm.json as `xlrm.training.model_card` writes them."""
    digest: str
    """Digest of the model's folder."""
    evaluation: Path
    """The folder that the stage evaluate wrote."""
    origin: dict[str, Record]
    """URI -> record of the model's own artifact and of all artifacts that it was made from."""
    corpora: dict[str, DataCard]
    """URI -> card of the artifacts of the stage curate in `origin` that its training pairs are from."""
    evaluation_uri: str | None = None

    @cached_property
    def results(self) -> EvaluationResults:
        return EvaluationResults.read(self.evaluation)

    @cached_property
    def card(self) -> RewardModelCard:
        return RewardModelCard.read(self.model)

    @cached_property
    def terms(self) -> Terms:
        licences = [entry for card in self.corpora.values() for entry in card.licences.items()]
        data = dict(licences) or {"training data": "unknown"}
        translations = {
            f"translations by {name}": licence_terms.of_model(name) for name in self.translators if name != PHRASEBOOK
        }
        return licence_terms.terms(self.card.base_model.model, data | translations)

    @property
    def translators(self) -> list[str]:
        """Translators that wrote the training data, if it is translated."""
        languages = self.card.languages
        stages = [
            record
            for record in self.origin.values()
            if record.stage == "translate"
            and record.config["language"] in languages
            and PREFERENCE_PAIRS.name in record.config.get("files", (PREFERENCE_PAIRS.name,))
        ]
        return sorted({str(record.config.get("translator")) for record in stages})

    def made_by(self, stage: str) -> tuple[str, Record] | None:
        """URI and record of the last artifact of a stage in `origin`."""
        return next(((uri, record) for uri, record in reversed(self.origin.items()) if record.stage == stage), None)


def write(folder: Path, facts: Facts) -> None:
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(facts.evaluation / reward_table.FILE, folder / REWARDS)
    shutil.copyfile(facts.evaluation / Fingerprint.FILE, folder / Fingerprint.FILE)
    (folder / "README.md").write_text(card(facts), encoding="utf-8")
    _write_flavour(folder, facts)


def _write_flavour(folder: Path, facts: Facts) -> None:
    """Writes these files itself, because MLflow's own function copies the weights first."""
    made = facts.made_by("reward")
    versions = made[1].versions if made else {}
    python = versions.get("python", "3.11")
    flavour = {
        "loader_module": _LOADER, "code": "code", "python_version": python, "env": {"virtualenv": "python_env.yaml"},
    }  # fmt: skip
    model = {
        "flavors": {"python_function": flavour},
        "signature": {
            "inputs": json.dumps(INPUTS, allow_nan=False),
            "outputs": json.dumps(OUTPUTS, allow_nan=False),
            "params": None,
        },
        "saved_input_example_info": {"artifact_path": "input_example.json", "type": "json_object"},
    }
    _yaml(folder / "MLmodel", model)
    environment = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    _yaml(folder / "python_env.yaml", environment)
    # Without builds such as +cpu or +cu126, which the default package index does not have.
    pinned = [f"{name}=={versions[name].partition('+')[0]}" if name in versions else name for name in REQUIRED]
    (folder / "requirements.txt").write_text("\n".join(["mlflow>=3.17,<4", "jinja2", *pinned]) + "\n")
    (folder / "input_example.json").write_text(
        json.dumps(EXAMPLE, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    (folder / "code").mkdir(exist_ok=True)
    shutil.copyfile(mlflow_loader.__file__, folder / "code" / f"{_LOADER}.py")


def _yaml(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def card(facts: Facts) -> str:
    """The trained model's card, with the sections that are known only now."""
    written = facts.model / "README.md"
    own = written.read_text(encoding="utf-8") if written.is_file() else f"---\n---\n\n# {facts.name}\n"
    licence = facts.terms.licence
    front = f"license: {licence}\n" + (f"license_name: {facts.name}-terms\n" if licence == "other" else "")
    parts = (_evaluation(facts), _data(facts), _licence(facts), _limits(facts), _provenance(facts))
    text = "\n\n".join("\n".join(lines) for lines in parts)
    return own.replace("---\n", f"---\n{front}", 1).rstrip("\n") + f"\n\n{text}\n"


def _evaluation(facts: Facts) -> Iterator[str]:
    yield "## Evaluation"
    yield ""
    yield "Accuracy with its 95 % interval (bootstrap over items)."
    results = facts.results
    own = {reward_table.CORPUS: results.results} if results.results else {}
    for benchmark, languages in {**own, **results.benchmarks}.items():
        yield ""
        yield f"**{benchmark}**"
        yield ""
        sections = list(dict.fromkeys(name for result in languages.values() for name in result.parts))
        yield from markdown_table.head(["language", "items", *sections])
        for language, result in languages.items():
            yield markdown_table.row([language, result.items, *(_accuracy(result, name) for name in sections)])


def _accuracy(result: Result, name: str) -> str:
    accuracy = result.estimate(name)
    return f"{accuracy.value:.3f} ({accuracy.low:.3f} – {accuracy.high:.3f})" if accuracy else "–"


def _data(facts: Facts) -> Iterator[str]:
    yield "## Data"
    yield ""
    if not facts.corpora:
        yield "No artifact that this model was made from describes its training data."
        return
    for card in facts.corpora.values():
        _, *lines = data_card.markdown(card).strip().splitlines()
        if len(facts.corpora) > 1:
            yield f"In {card.language}:\n"
        yield "\n".join(lines).strip() + "\n"
    if facts.translators:
        yield ""
        yield f"Translated by {', '.join(facts.translators)}."


def _licence(facts: Facts) -> Iterator[str]:
    yield "## Licence"
    yield ""
    terms = licence_terms.summary(facts.terms)
    yield f"Computed from the licences of the base model, of the data and of what translated it: {terms}."
    yield ""
    yield from (f"- {line}" for line in facts.terms.lines)


def _limits(facts: Facts) -> Iterator[str]:
    results = facts.results.main
    accuracies = {(on, name): result.accuracy[name] for on, result in results.items() for name in result.parts}
    (on, section), lowest = min(accuracies.items(), key=lambda item: item[1])
    trained = facts.card.languages
    others = [code for code in results if code not in trained]
    yield "## Limits"
    yield ""
    if facts.card.base_model.model == TINY:
        yield f"- For tests of the pipeline only: {TINY} was pretrained in minutes on generated texts."
    yield f"- Lowest measured accuracy: {lowest:.3f}, {section} in {on}."
    yield f"- Not measured: languages other than {', '.join(results)}, and abilities that these benchmarks do not test."
    if others:
        yield f"- Trained on {', '.join(trained)} only; its rewards in {', '.join(others)} rely on cross-lingual transfer."
    if facts.translators:
        yield "- Its training data is machine-translated and contains the translator's errors and style."
    yield "- Rewards compare responses to the same prompt. A reward is not a probability and has no meaning by itself."
    yield "- A policy optimised against this model for long enough exploits what the model overrates."


def _provenance(facts: Facts) -> Iterator[str]:
    yield "## Provenance"
    yield ""
    yield from markdown_table.head(["stage", "artifact", "digest of its files"])
    for uri, record in facts.origin.items():
        yield markdown_table.row([record.stage, f"`{addresses.shown(uri)}`", f"`{record.digest[:16]}`"])
    commits = sorted({record.git_commit for record in facts.origin.values() if record.git_commit})
    yield ""
    yield f"Git commit: {', '.join(commits) or 'unknown'}."


def summary(facts: Facts) -> str:
    """The card without its YAML header, for MLflow's page of the version."""
    return card(facts).split("---\n", 2)[2].strip()


def tags(facts: Facts) -> dict[str, str]:
    """Tags to look up a version by: artifacts and digests of model and data, commit, image, licence, accuracies."""
    entries = {"language": facts.card.language, "base_model": facts.card.base_model.model}
    entries |= {"digest": facts.digest, "evaluation_uri": addresses.shown(facts.evaluation_uri or "")}
    entries |= {"licence": facts.terms.licence, "non_commercial": str(facts.terms.non_commercial).lower()}
    sources = [(uri, facts.origin[uri]) for uri in facts.corpora]
    for label, made in (
        ("artifact", facts.made_by("reward")), ("data.source", sources[0] if sources else None),
        ("data", facts.made_by("validate")),
    ):  # fmt: skip
        if made:
            uri, record = made
            entries |= {f"{label}_uri": addresses.shown(uri), f"{label}_digest": record.digest}
            if label == "artifact":
                entries |= {"git_commit": record.git_commit or "", "image": record.image or ""}
    for on, result in facts.results.main.items():
        for name in result.parts:
            entries[metric_key(f"metric.accuracy/{on}/{name}")] = f"{result.accuracy[name]:.4f}"
    return {key: value for key, value in entries.items() if value}
