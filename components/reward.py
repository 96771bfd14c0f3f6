"""Component of `xlrm.stages.reward`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def reward(
    experiment: dict,
    language: str,
    base: dsl.Input[dsl.Model],
    corpora: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    nodes: int = 1,
    node: dict = {},  # noqa: B006
):
    """Trains a reward model on the preference pairs of one language.

    Args:
        nodes: Machines to train on; this pod then only waits for them.
        node: Of several, what each is: gpus, gpu_product, cpu, memory.
    """
    from components._stage import run
    from components._train_job import train_on_nodes

    inputs = {"base": base, "corpora": corpora}
    train_on_nodes(nodes, node, "reward", experiment, inputs, language=language)
    run("reward", experiment, inputs, model, metrics, summary, language=language)
