"""Component of `xlrm.stages.align`."""

from kfp import dsl

from components import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def align(
    experiment: dict,
    language: str,
    labeler: str,
    policy: dsl.Input[dsl.Model],
    ranked: dsl.Input[dsl.Dataset],
    aligned: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    nodes: int = 1,
    node: dict = {},  # noqa: B006
):
    """Aligns the policy to one reward model's preferences by DPO.

    Args:
        nodes: Machines to train on; this pod then only waits for them.
        node: Of several, what each is: gpus, gpu_product, cpu, memory.
    """
    from components._stage import run
    from components._train_job import train_on_nodes

    inputs = {"policy": policy, "ranked": ranked}
    train_on_nodes(nodes, node, "align", experiment, inputs, language=language, labeler=labeler)
    run("align", experiment, inputs, aligned, metrics, summary, language=language, labeler=labeler)
