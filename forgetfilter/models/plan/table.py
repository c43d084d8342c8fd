"""The plan for the terminal, in 80 columns, and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forgetfilter.models.memory import Held, resident
from forgetfilter.models.plan.estimate import Estimate
from forgetfilter.models.plan.planning import GB, OnGpus, StagePlan

PARTS = {
    "base": "frozen",
    "trained": "trained",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "working": "working",
}


def tables(name: str, found: Estimate) -> Group:
    """All that the plan says: stages, memory of one GPU, numbers of GPUs, and what was not looked at."""
    planner = found.planner
    stages = planner.all_stages()
    own = planner.step.parameters
    kind = {"full": "in full", "lora": "by LoRA", "qlora": "by QLoRA"}[planner.train.method]
    head = f"{name}: {number(own.base + own.trained)} parameters, {number(own.trained)} of them trained {kind}"
    lines = [found.disk, *found.unchecked, *notes(found)]
    return Group(
        Text(head, style="bold"),
        _stages(stages),
        _memory(planner.train.gradient_checkpointing, stages),
        _gpus([row for row in planner.on_gpus() if not row.idle], planner.machine.gpu_gb),
        *(Padding(Text(line), (0, 0, 0, 2)) for line in lines if line),
    )


def notes(found: Estimate) -> list[str]:
    """What a reader must know of the numbers."""
    planner, machine = found.planner, found.planner.machine
    fewest = [f"ZeRO-{stage}: {gpus}" for stage, gpus in planner.fewest().items() if gpus is not None]
    said = ", ".join(fewest) or "none of up to 1,024 is enough"
    unknown = "No rate is known: --tokens-per-second, --flops or --measure."
    rate = f"Times come from {found.rate}." if found.rate else unknown
    scored = planner.scoring().memory.total
    too_large = f"The scoring, which divides no model, needs {scored / GB:.1f} GB: more than a GPU has."
    return [
        *([too_large] if scored > machine.room else []),
        f"A step has {planner.smallest_step} examples at least, so no more GPUs can share it (train.STAGE.batch_size).",
        f"The fewest GPUs of {machine.gpu_gb:g} GB, {machine.reserved_gb:g} GB left to the driver: {said}.",
        f"{rate} A GPU sends {machine.link_gb:g} GB/s, and no sending is hidden behind computation.",
        f"On a CPU the process of a training has about {resident(planner.alone) / GB:.1f} GB resident.",
        "Generated answers, the filter and the report are not counted.",
    ]


def as_json(name: str, found: Estimate) -> dict[str, Any]:
    """The same in numbers: bytes, operations, hours."""
    planner = found.planner
    return {
        "name": name,
        "parameters": asdict(planner.step.parameters),
        "stages": [asdict(stage) | {"memory_bytes": stage.memory.total} for stage in planner.all_stages()],
        "gpus": [asdict(row) | {"hours": row.hours} for row in planner.on_gpus()],
        "fewest_gpus": planner.fewest(),
        "machine": asdict(planner.machine),
        "cpu_process_bytes": resident(planner.alone),
        "rate": found.rate,
        "disk": found.disk,
        "unchecked": list(found.unchecked),
    }


def _stages(stages: Sequence[StagePlan]) -> Table:
    table = _table("Stages, on one GPU", ["stage"], ["rows", "tokens", "steps", "memory, GB", "time"])
    for one in stages:
        sizes = [number(one.rows), number(one.tokens), number(one.steps)]
        table.add_row(one.name, *sizes, f"{one.memory.total / GB:.1f}", time(one.hours))
    known = [one.hours for one in stages if one.hours is not None]
    tokens = number(sum(one.tokens for one in stages))
    most = max(one.memory.total for one in stages) / GB
    table.add_row("all", "", tokens, "", f"{most:.1f}", time(sum(known) if known else None), style="bold")
    return table


def _memory(checkpointing: bool, stages: Sequence[StagePlan]) -> Table:
    kept = "activations (checkpointed)" if checkpointing else "activations"
    table = _table(
        "Memory of one GPU, GB", ["stage"], [kept if key == "activations" else word for key, word in PARTS.items()]
    )
    for name, memory in _distinct(stages):
        table.add_row(name, *(f"{getattr(memory, key) / GB:.2f}" for key in PARTS))
    return table


def _distinct(stages: Sequence[StagePlan]) -> Iterable[tuple[str, Held]]:
    """A training, whose memory all trainings have, and the scoring."""
    return (("train", stages[0].memory), (stages[-1].name, stages[-1].memory))


def _gpus(rows: Sequence[OnGpus], gpu_gb: float) -> Table:
    table = _table(
        f"On GPUs of {gpu_gb:g} GB", [], ["GPUs", "ZeRO", "GB a GPU", "time", "computing", "sending", "GPU hours"]
    )
    for row in rows:
        zero = "too small" if row.zero is None else str(row.zero)
        times = map(time, (row.hours, row.compute_hours, row.communication_hours))
        spent = "–" if row.hours is None else number(row.hours * row.gpus)
        style = "dim" if row.zero is None else ""
        table.add_row(f"{row.gpus:,}", zero, f"{row.memory_gb:.1f}", *times, spent, style=style)
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1))
    for word in words:
        table.add_column(word)
    for word in numbers:
        table.add_column(word, justify="right")
    return table


def number(value: float) -> str:
    """Such as 0.42, 412, 8,300, 2.4 M, 6.7 bn."""
    for size, unit in ((1e12, " tn"), (1e9, " bn"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"


def time(hours: float | None) -> str:
    """Such as 12 s, 5.2 min, 31.1 h, 8.0 d."""
    if hours is None:
        return "–"
    units = ((48, 24, "d"), (1, 1, "h"), (1 / 60, 1 / 60, "min"), (0, 1 / 3600, "s"))
    size, unit = next((size, unit) for least, size, unit in units if hours >= least)
    return f"{hours / size:,.1f} {unit}"
