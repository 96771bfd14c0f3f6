"""The first task of a pipeline: settles the experiment from the form of the Kubeflow UI or a file of settings."""

from typing import NamedTuple

from kfp import dsl

from components import image


@dsl.component(base_image=image("configure"), install_kfp_package=False)
def configure(
    pipeline: str,
    placement: dict,
    preset: str,
    experiment: str,
    name: str,
    targets: list,
    base_model: str,
    preferences: list,
    pairs: int,
    overrides: dict,
    page: dsl.Output[dsl.Markdown],
) -> NamedTuple(  # type: ignore[valid-type]  # kfp runs this function's text alone
    "Left", Output=str, translate=list, reward=list, sample=list, evaluate=list, align=list, answer=list
):
    """Resolves the experiment, refuses errors in it before anything is paid for, and finds the steps that are left.

    Returns:
        Number of steps that are left, and for each component the labels of its steps, a text for each pod.
    """
    from components.form import settle

    shorthands = {
        "name": name, "targets": targets, "base.model": base_model, "curate.preferences": preferences, "curate.pairs": pairs,
    }  # fmt: skip
    return settle(pipeline, placement, preset, experiment, shorthands, overrides, page)
