"""The first task of a pipeline: what the form of the Kubeflow UI, or a file of settings, asks for."""

from typing import NamedTuple

from kfp import dsl

from components import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def configure(
    presets: dict,
    preset: str,
    experiment: dict,
    name: str,
    targets: list,
    base_model: str,
    preferences: list,
    pairs: int,
    overrides: dict,
    summary: dsl.Output[dsl.Markdown],
) -> NamedTuple("Settled", experiment=dict, source=str, targets=list):
    """Settles the experiment, and refuses what is not right in it before anything is paid for."""
    from components._form import settle

    shorthands = {
        "name": name, "targets": targets, "base.model": base_model, "curate.preferences": preferences, "curate.pairs": pairs,
    }  # fmt: skip
    return settle(presets, preset, experiment, shorthands, overrides, summary)
