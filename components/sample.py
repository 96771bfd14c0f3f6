"""Component of `xlrm.stages.sample`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("sample"), install_kfp_package=False)
def sample(
    experiment: dict,
    split: str,
    corpora: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    samples: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    second_policy: dsl.Input[dsl.Model] = None,
    language: str = "",
    languages: list = [],  # noqa: B006
):
    """Samples responses of one policy, or of two, to the prompts of one language or of several."""
    from components._stage import run

    policies = [one for one in (policy, second_policy) if one]
    inputs = {"policies": policies, "corpora": corpora}
    run("sample", experiment, inputs, samples, metrics, summary, languages=languages or [language], split=split)
