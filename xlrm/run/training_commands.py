"""The commands that train: a reward model on one's own preference pairs, and a policy with a reward model."""

from pathlib import Path
from typing import Annotated

import typer

from xlrm import progress
from xlrm.run.output import errors_in_one_line, print_result
from xlrm.run.scoring_commands import ColumnsOption, EncodingOption
from xlrm.store import addresses


def train(
    base: Annotated[str, typer.Option(help="The model to start from: folder, OWNER/NAME, models:/NAME@ALIAS or URI.")],
    data: Annotated[
        list[str], typer.Option(help="File with prompt, chosen and rejected, or hub:OWNER/NAME; may be repeated.")
    ],
    fields: Annotated[
        list[str] | None, typer.Argument(help="Settings that differ, as stage.field=value, such as reward.epochs=2.")
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval", help="File of pairs to evaluate on; without it, a fifth of the data's prompts are kept for that."
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the pairs.")] = "en",
    output: Annotated[Path, typer.Option(help="New folder for the model, in the format of Hugging Face.")] = Path(
        "model"
    ),
    name: Annotated[
        str | None, typer.Option(help="Name of the MLflow experiment (default: the output's name).")
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(help="Also register the model, as NAME-LANGUAGE; the gate compares it with the champion."),
    ] = None,
    columns: ColumnsOption = None,
    encoding: EncodingOption = None,
) -> None:
    """Train a reward model on your own preference pairs, evaluate it, and write it to a folder.

    The same command continues after an interruption, and reuses what is finished.
    """
    from xlrm.data import reading
    from xlrm.processes.signals import ended_by_signals
    from xlrm.run import experiment as experiments
    from xlrm.run import own_data

    with errors_in_one_line(), ended_by_signals():
        read = reading.of_options(columns or (), encoding)
        raw = own_data.settings(base, data, evaluation, language, name or output.absolute().name, register, read)
        loaded = own_data.experiment(raw, [experiments.assignment(field) for field in fields or ()])
        own_data.check_output(output, own_data.finished(loaded, bool(register)) if output.exists() else None)
        progress.say(f"train: {', '.join(data)} → {output} · store {addresses.shown(addresses.store())}")
        loaded, made = own_data.run(loaded, bool(register))
        own_data.write(made[f"reward-{language}"], output)
        lines = list(own_data.results(loaded, made, output))
    print_result(*lines)


def align(
    policy: Annotated[str, typer.Option(help="The policy: folder, OWNER/NAME, models:/NAME@ALIAS or URI.")],
    reward: Annotated[
        str,
        typer.Option(help="Reward model, named as the policy; or the URL of a server, http://HOST:8000/get_reward."),
    ],
    prompts: Annotated[str, typer.Option(help="File with prompt, or the name of a dataset of prompts.")],
    fields: Annotated[
        list[str] | None, typer.Argument(help="Settings that differ, as stage.field=value, such as rl.steps=100.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="dpo: sample, rank, and train on the best and worst responses; grpo or rloo: train on each response."
        ),
    ] = "dpo",
    language: Annotated[str, typer.Option(help="Language of the prompts.")] = "en",
    output: Annotated[Path, typer.Option(help="New folder for the policy, in the format of Hugging Face.")] = Path(
        "policy"
    ),
    name: Annotated[
        str | None, typer.Option(help="Name of the MLflow experiment (default: the output's name).")
    ] = None,
) -> None:
    """Train a policy with a reward model on your own prompts, by DPO, GRPO or RLOO, and write it to a folder.

    The same command continues after an interruption, and reuses what is finished.
    """
    from xlrm.processes.signals import ended_by_signals
    from xlrm.run import experiment as experiments
    from xlrm.run import own_data, own_policies

    with errors_in_one_line(), ended_by_signals():
        given = [experiments.assignment(field) for field in fields or ()]
        made = own_policies.settings(method, policy, reward, prompts, language, given)
        own_policies.check(made, policy, reward, prompts, output)
        progress.say(f"align: {method} of {policy} by {reward} → {output} · store {addresses.shown(addresses.store())}")
        artifact = own_policies.run(made, policy, reward, name or output.absolute().name)
        own_data.write(artifact, output)
        lines = own_policies.results(artifact, output)
    print_result(*lines)


COMMANDS = (train, align)
