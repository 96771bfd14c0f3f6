"""Estimate of a run from its settings alone, before it starts (GPU hours, dollars and space in the store), and the
check against `plan.max_gpu_hours` and `plan.max_usd`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xlrm import markdown_table
from xlrm.errors import ConfigError
from xlrm.run import assumptions, expected, reuse_forecast
from xlrm.run.assumptions import MFU
from xlrm.run.forecast import Row
from xlrm.run.sections import Experiment

HEAD = ("stage", "what", "A100-hours", "GPUs", "hours on as many {gpu}s", "USD", "GB kept")
"""Columns of the table. Limits and prices count hours of an A100; `gpu` is the placement's GPU."""


@dataclass(frozen=True)
class Budget:
    rows: list[Row]
    plan: Any
    """Config of the stage `plan`, with prices, limits and assumptions."""

    @property
    def gpu_hours(self) -> float:
        """Hours of an A100, summed over the rows whose work is known."""
        return sum(row.hours(MFU) or 0 for row in self.rows)

    @property
    def usd(self) -> float | None:
        """US dollars for GPUs and endpoints, summed over the rows whose work is known; None without
        `plan.usd_per_gpu_hour`."""
        price = self.plan.usd_per_gpu_hour
        return None if price is None else self.gpu_hours * price + sum(row.usd for row in self.rows)


def of(experiment: Experiment, pipeline: str) -> Budget:
    """The estimate of a run. Raises ConfigError for settings that are not allowed."""
    texts = expected.texts(experiment)
    translated = expected.translated(experiment, texts)
    rows = reuse_forecast.rows(experiment, texts, expected.published(experiment), translated, pipeline, fetch=False)
    return Budget(rows, experiment.config("plan"))


def problems(experiment: Experiment, pipeline: str) -> Iterator[ConfigError]:
    """An error for each limit that the estimate exceeds, and for each row of unknown work or price while a limit is
    set."""
    plan = experiment.config("plan")
    if plan.max_usd is not None and plan.usd_per_gpu_hour is None:
        yield ConfigError(
            "needs plan.usd_per_gpu_hour, the price of an A100 hour", where="plan.max_usd", value=plan.max_usd
        )
    if plan.max_usd is None and plan.max_gpu_hours is None:
        return
    estimate = of(experiment, pipeline)
    field = "max_gpu_hours" if plan.max_usd is None else "max_usd"
    for row in estimate.rows:
        if row.flop is None or (row.why and plan.max_usd is not None):
            yield ConfigError(
                f"cannot be checked, because the cost of {row.stage} is unknown: {row.why}",
                where=f"plan.{field}", value=getattr(plan, field),
            )  # fmt: skip
    for field, value, unit in (
        ("max_gpu_hours", estimate.gpu_hours, "hours of an A100"),
        ("max_usd", estimate.usd, "US dollars"),
    ):
        limit = getattr(plan, field)
        if limit is not None and value is not None and value > limit:
            yield ConfigError(
                f"less than the estimate of {value:,.3g} {unit}",
                where=f"plan.{field}", value=limit, hint=_most(estimate),
            )  # fmt: skip


def _most(estimate: Budget) -> str:
    """The stages that take most of the hours."""
    by_stage: dict[str, float] = {}
    for row in estimate.rows:
        stage = row.stage.partition("[")[0]
        by_stage[stage] = by_stage.get(stage, 0) + (row.hours(MFU) or 0)
    most = sorted(by_stage.items(), key=lambda entry: -entry[1])[:3]
    return f"most are {', '.join(f'{hours:,.3g} h of {stage}' for stage, hours in most)}"


def markdown(estimate: Budget, gpus: Callable[[Row], int | None], gpu_product: str = "") -> str:
    """The estimate as a Markdown table with notes. `gpus`: how many GPUs work on a row side by side, None if unknown;
    `gpu_product`: product label that NVIDIA gives their nodes."""
    gpu = assumptions.PRODUCTS.get(gpu_product, assumptions.A100)
    lines = [
        markdown_table.row(name.format(gpu=gpu) for name in HEAD),
        markdown_table.row(["---", "---", *["---:"] * (len(HEAD) - 2)]),
    ]
    lines += [markdown_table.row(_cells(estimate, row, gpus(row), gpu)) for row in estimate.rows]
    unknown = [row for row in estimate.rows if row.flop is None]
    left_out = f"without {len(unknown)} unknown" if unknown else ""
    kept = sum(row.stored or 0 for row in estimate.rows) / 1e9
    lines.append(
        markdown_table.row(["total", left_out, figure(estimate.gpu_hours), "", "", figure(estimate.usd), figure(kept)])
    )
    why = dict.fromkeys(f"- {row.stage.partition('[')[0]}: {row.why}" for row in estimate.rows if row.why)
    notes = [f"- {note}" for note in (*expected.assumptions(estimate.plan), *_hours_rest_on(gpu))]
    return "\n".join([*lines, "", *why, *notes, _price(estimate.plan), ""])


def _hours_rest_on(gpu: str) -> list[str]:
    """The assumed utilisation, and the peaks of both GPUs if the placement's is no A100."""
    sentences = assumptions.sentences(MFU, gpu)
    return sentences[:1] if gpu == assumptions.A100 else sentences[:3]


def _cells(estimate: Budget, row: Row, gpus: int | None, gpu: str) -> list[str]:
    hours, price = row.hours(MFU), estimate.plan.usd_per_gpu_hour
    usd = (row.usd or None) if hours is None or price is None else hours * price + row.usd
    own = row.hours(MFU, gpu)
    elapsed = own / gpus if own is not None and gpus else None
    kept = None if row.stored is None else row.stored / 1e9
    return [row.stage, row.what, figure(hours), str(gpus or "–"), figure(elapsed), figure(usd), figure(kept)]


def _price(plan: Any) -> str:
    if plan.usd_per_gpu_hour is None:
        return "- US dollars of endpoints alone, because plan.usd_per_gpu_hour, the price of an A100 hour, is not set"
    return f"- {plan.usd_per_gpu_hour:g} US dollars per A100 hour (plan.usd_per_gpu_hour), without storage"


def figure(value: float | None) -> str:
    """Two significant digits, or all digits before the point; a dash for None."""
    return "–" if value is None else f"{value:,.0f}" if value >= 10 or not value else f"{value:.2g}"
