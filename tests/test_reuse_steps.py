"""The steps of `reuse-rewards`: which models label which policies, what is compared with what, and what options add."""

from pathlib import Path

import pytest
from refusals import refused
from test_artifacts import FACTS

from components import _run
from components.form import shared_out
from components.hardware import Hardware, Share
from configs import PRESETS
from pipelines.placement import CLUSTERS
from pipelines.placement import load as placement
from xlrm.data.phrasebook import language
from xlrm.errors import ConfigError
from xlrm.run import runner
from xlrm.run.experiment import load, stage_config
from xlrm.run.steps import Steps, steps
from xlrm.stages import curate
from xlrm.store import artifacts
from xlrm.store.jsonl import read_rows

SIX = ("en", "de", "es", "ru", "tr", "vi")
PHRASEBOOK = "translate.translator=phrasebook"


def made(*overrides: str) -> Steps:
    return steps("reuse-rewards", load(PRESETS["demo_reuse"], overrides))


def of(stage: str, steps: Steps) -> list[str]:
    return [label for label in steps if steps[label].stage == stage]


def test_six_languages_have_36_pairs_of_a_policy_and_a_reward_model() -> None:
    six = made()
    assert of("rl", six) == [f"rl-{target}-{source}" for target in SIX for source in SIX]
    count = {
        stage: len(of(stage, six)) for stage in ("curate", "sft", "reward", "evaluate", "best_of_n", "gains", "judge")
    }
    assert count == {"curate": 6, "sft": 6, "reward": 6, "evaluate": 6, "best_of_n": 6, "gains": 6, "judge": 12}
    assert six["reward-tr"].inputs == {"base": "sft-tr", "corpora": "validate"}, "paper B, section 4.1"
    assert six["rl-tr-vi"].inputs["policy"] == "sft-tr" and six["rl-tr-vi"].inputs["reward_model"] == "reward-vi"
    assert six["gains-tr"].inputs["reward_models"] == tuple(f"reward-{code}" for code in SIX), "paper B, figure 10b"
    assert six["best_of_n-tr"].inputs["reward_models"] == tuple(f"reward-{code}" for code in SIX)


def test_another_reward_model_of_a_source_trains_no_policy_of_another_source(tmp_path, home) -> None:
    """It changes the keys of the policies that it trains, and those of all that score with it."""
    six = made()
    asked = ("rl-tr-en", "rl-tr-vi", "gains-tr")

    def artifact(label: str, content: str) -> str:
        folder = tmp_path / f"{label}-{content}"
        for file in ("tr/prompts.jsonl", "samples.json", *(f"{place}/eval/tr.jsonl" for place in range(6))):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(f"{label} {content}")
        uri = f"{home.as_uri()}/store/base/{folder.name}"
        artifacts.publish(folder, uri, **FACTS)
        return uri

    def keys(known: dict[str, str]) -> dict[str, str]:
        return {
            label: runner.address(six[label].stage, six[label].config, _run.inputs(six[label], known))
            for label in asked
        }

    uris = {label: artifact(label, "one") for label in sorted(set().union(*(six[label].reads for label in asked)))}
    before, after = keys(uris), keys(uris | {"reward-vi": artifact("reward-vi", "another")})
    assert [label for label in before if before[label] != after[label]] == ["rl-tr-vi", "gains-tr"]


def test_samples_are_one_more_than_candidates_and_the_reference_of_all_verdicts() -> None:
    asked = made("best_of_n.n=16")
    assert asked["sample-sft-ru"].config["runs"] == 17 and asked["sample-rl-ru"].config["runs"] == 1
    for label in ("judge-best_of_n-ru", "judge-rl-ru"):
        assert asked[label].inputs["reference"] == ("sample-sft-ru",) and asked[label].config["reference"] == "sft"
    assert asked["judge-best_of_n-ru"].inputs["candidates"] == ("best_of_n-ru",)
    assert asked["gains-ru"].inputs["policies"] == tuple(f"rl-ru-{code}" for code in SIX)


def test_the_budget_of_judging_is_divided_among_languages_and_verdicts() -> None:
    asked = made("judge.max_usd=60", "plan.usd_per_gpu_hour=2")
    assert {asked[label].config["max_usd"] for label in of("judge", asked)} == {60 / 6 / 2}
    more = made("judge.max_usd=60", "plan.usd_per_gpu_hour=2", "sft.translated=[translated]", PHRASEBOOK)
    assert more["judge-rl-de"].config["max_usd"] == 60 / 6 / 4 and more["judge-rl-en"].config["max_usd"] == 60 / 6 / 12
    assert sum(more[label].config["max_usd"] for label in of("judge", more)) == pytest.approx(60)


def test_samples_in_shards_are_read_together() -> None:
    asked = made("sample.shards=2")
    parts = ("sample-sft-de-1of2", "sample-sft-de-2of2")
    assert asked["best_of_n-de"].inputs["samples"] == parts == asked["judge-rl-de"].inputs["reference"]


def test_a_bilingual_reward_model_labels_every_target() -> None:
    asked = made("reward.bilingual=[de+en]")
    assert asked["reward-de+en"].inputs["base"] == "sft-de+en"
    assert stage_config("reward", asked["reward-de+en"].config).mixture == "pool"
    assert all("de+en" in asked[label].config["labelers"] for label in of("best_of_n", asked))
    assert not [label for label in of("rl", asked) if "+" in label], "paper B, table 25, has best-of-n alone"


def test_translate_train_gives_each_language_a_reward_model_for_every_other() -> None:
    asked = made("reward.translate_train=true", PHRASEBOOK)
    silver = [label for label in of("reward", asked) if "-from-" in label]
    assert len(silver) == 30 and asked["reward-tr-from-de"].inputs == {"base": "sft-tr", "corpora": "validate-de"}
    assert asked["validate-de"].inputs == {
        "source": "curate-de", "translations": tuple(f"translate-de-{code}" for code in SIX if code != "de"),
    }  # fmt: skip
    labelers = list(
        zip(asked["best_of_n-tr"].config["labelers"], asked["best_of_n-tr"].inputs["reward_models"], strict=True)
    )
    assert ("de>tr", "reward-tr-from-de") in labelers and len(labelers) == 6 + 5
    assert list(asked["judge-best_of_n-tr"].config["labelers"]) == [name for name, _ in labelers]


def test_translations_between_groups_of_x_alma_go_over_english() -> None:
    asked = made("reward.translate_train=true", "translate.translator=x-alma", "curate.preferences=[phrasebook]")
    assert asked["translate-de-en-tr"].inputs == {"corpus": "translate-de-en"}
    assert asked["validate-de"].inputs["translations"][:2] == ("translate-de-en", "translate-de-en-es")
    assert "translate-en-tr" in asked and "translate-de-tr" not in asked


def test_policies_on_translated_demonstrations_have_english_on_one_side() -> None:
    asked = made("sft.translated=[translated, round_trip]", PHRASEBOOK)
    others = [label for label in of("sft", asked) if len(asked[label].of) > 1]
    assert len(others) == 20 and asked["sft-de-from-en"].inputs["corpora"] == "validate-de-from-en"
    there = asked["validate-de-via-en"]
    assert there.inputs == {"source": "translate-sft-de-en", "translations": ("translate-sft-de-en-de",)}
    assert asked["translate-sft-de-en-de"].inputs == {"corpus": "translate-sft-de-en"}
    assert asked["best_of_n-de-via-en"].inputs["reward_models"] == ("reward-en",)
    assert asked["judge-best_of_n-de-via-en"].inputs["reference"] == ("sample-sft-de",), (
        "the policy on texts of its own"
    )
    assert asked["judge-best_of_n-de-via-en"].config["labelers"] == ["en round_trip"]


def test_these_policies_are_trained_by_the_reward_model_of_the_other_language_too() -> None:
    asked = made("sft.translated=[translated, round_trip]", PHRASEBOOK)
    assert len([label for label in of("rl", asked) if len(asked[label].of) > 2]) == 20, "paper B, figure 5d"
    trained = asked["rl-en-from-de"]
    assert trained.inputs == {"policy": "sft-en-from-de", "corpora": "validate", "reward_model": "reward-de"}
    assert trained.config["labeler"] == "de"
    assert asked["sample-rl-en-from-de"].inputs["policies"] == ("rl-en-from-de",)
    judged = asked["judge-rl-en-from-de"]
    assert judged.inputs == {"reference": ("sample-sft-en",), "candidates": ("sample-rl-en-from-de",)}
    assert judged.config["labelers"] == ["de translated"]
    read = asked["reuse_report"].inputs
    assert [len(read[f"verdicts_translated_{kind}"]) for kind in ("best_of_n", "rl")] == [20, 20]
    assert [len(read[f"verdicts_{kind}"]) for kind in ("best_of_n", "rl")] == [6, 6]
    assert len(asked["gains-en"].inputs["policies"]) == 6
    assert not of("rl", made("sft.translated=[translated]", PHRASEBOOK, "rl=null"))


def test_without_a_section_rl_nothing_is_trained_online_and_without_a_judge_nothing_is_judged() -> None:
    asked = made("judge.judge=null", "rl=null")
    assert not {"rl", "gains", "judge"} & {step.stage for step in asked.values()}
    assert not {"gains", "verdicts_best_of_n", "verdicts_rl"} & asked["reuse_report"].inputs.keys()


def test_fine_tuning_and_the_reward_model_of_a_language_share_a_pod() -> None:
    shares = shared_out(made(), Hardware(tasks={"reward": Share(pods=2), "align": Share(pods=2)}))
    assert shares["reward"][0].split(",") == ["sft-en", "reward-en", "sft-es", "reward-es", "sft-tr", "reward-tr"]
    assert [len(pod.split(",")) for pod in shares["align"]] == [18, 18]


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_placement_has_at_most_as_many_pods_as_its_server_shows(name: str) -> None:
    shares = shared_out(made(), placement(name).hardware())
    assert all(len(pods) <= placement(name).tasks[component].pods for component, pods in shares.items())


REFUSED = {
    "no demonstrations": ("curate.demonstrations=[]", "curate.demonstrations", []),
    "no prompts": ("curate.prompts=null", "curate.prompts", None),
    "a language that it has not": ("reward.bilingual=[de+it]", "reward.bilingual", "de+it"),
    "one language twice": ("reward.bilingual=[de+de]", "reward.bilingual", ["de+de"]),
    "three languages": ("reward.bilingual=[de+en+es]", "reward.bilingual", ["de+en+es"]),
    "two languages in both orders": ("reward.bilingual=[de+en,en+de]", "reward.bilingual", ["de+en", "en+de"]),
    "runs of samples, which are those of best-of-n": ("sample.runs=3", "sample.runs", 3),
    "another name of what verdicts compare with": ("judge.reference=mine", "judge.reference", "mine"),
    "responses to other prompts": ("sample.split=train", "sample.split", "train"),
    "given responses": ("sample.given=phrasebook", "sample.given", "phrasebook"),
    "an optimizer that there is not, to fine-tune with": ("sft.optimizer=adamm", "sft.optimizer", "adamm"),
    "a reward model's": ("reward.optimizer=galore_adamw", "reward.optimizer", "galore_adamw"),
    "that of reinforcement learning": ("rl.optimizer=adam", "rl.optimizer", "adam"),
    "a schedule that there is not": ("sft.scheduler=linear", "sft.scheduler", "linear"),
    "a served policy": ("sample.served=http://127.0.0.1/v1", "sample.served", "http://127.0.0.1/v1"),
    "features that are not there": ("reuse_report.typology=nowhere.csv", "reuse_report.typology", "nowhere.csv"),
    "more than the base reads": ("sft.max_prompt_length=4090", "sft.max_prompt_length", 4090),
    "a policy": ("policy.model=a/b", "policy", {"model": "a/b"}),
    "a reference": ("reference.given=phrasebook", "reference", {"given": "phrasebook"}),
    "alignment on pairs": ("align.beta=0.2", "align", {"beta": 0.2}),
    "no translator": ("reward.translate_train=true", "translate.translator", None),
    "several runs of a judge, whose reference would be a candidate": ("judge.runs=2", "judge.runs", 2),
    "equal samples": ("sample.judged_temperature=0", "sample.judged_temperature", 0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_when_the_experiment_is_loaded(case: str) -> None:
    override, field, value = REFUSED[case]
    with refused(ConfigError, f"{PRESETS['demo_reuse']}: {field}", value):
        load(PRESETS["demo_reuse"], (override,))


def test_an_encoder_decoder_is_sampled_by_transformers() -> None:
    preset = PRESETS["paper_b_summarization"]
    with refused(ConfigError, f"{preset}: sample.engine", "vllm"):
        load(preset, ("sample.engine=vllm",))
    assert load(PRESETS["paper_b_dialog"], ("sample.engine=vllm",)).setting("sample", "engine") == "vllm"


def test_an_experiment_names_its_pipeline_and_no_other_takes_it() -> None:
    with refused(ConfigError, f"{PRESETS['demo_reuse']}: pipeline", "reuse-rewards"):
        load(PRESETS["demo_reuse"], (), "retrain")
    assert load(PRESETS["demo_reuse"]).of_pipeline == "reuse-rewards"
    assert load(PRESETS["demo"]).of_pipeline == "cross-lingual-transfer"
    assert load(PRESETS["demo_reuse"]).aligned == SIX


def test_no_language_of_the_demo_trains_on_a_question_that_another_holds_out(tmp_path: Path) -> None:
    asked, held, trained = made("curate.pairs=240", "curate.demonstrations_rows=20"), set(), set()
    for label in of("curate", asked):
        config = stage_config("curate", asked[label].config)
        curate.run(config, source=tmp_path / "curate" if asked[label].inputs else None, output=tmp_path / label)
        pairs, rest = (read_rows(tmp_path / label / f"{name}.jsonl") for name in ("preferences", "heldout"))
        assert len(pairs) == 0.9 * config.pairs and len(rest) == 0.1 * config.pairs
        parse = language.load(config.language).parse
        trained |= {parse(row["prompt"]) for row in pairs}
        held |= {parse(row["prompt"]) for row in rest}
    assert len(trained) > 300 and len(held) > 80 and not trained & held
