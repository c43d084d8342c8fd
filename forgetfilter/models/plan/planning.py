"""The plan of a pipeline before anything is loaded: memory and time of its stages, on one GPU and on up to 1,024."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forgetfilter.config.schema import RefitConfig, ScheduleConfig, TrainConfig
from forgetfilter.data.batches import TrainingPlan, layout_for, plan_scoring, row_places
from forgetfilter.models.memory import Held, Method, base_bytes, divided, fewest_ranks, held, least_stage
from forgetfilter.models.plan.costs import Shape, forward_operations, sent_bytes, training_operations
from forgetfilter.models.plan.rows import Rows
from forgetfilter.models.rehearsal import Rehearsed

GB = 1e9
MOST_GPUS = 1024
LOOKED_AT = 2000  # micro-batches among which the largest is sought
HOUR = 3600


@dataclass(frozen=True)
class Machine:
    """What the plan is for."""

    gpu_gb: float
    """Memory of a GPU, 10^9 bytes."""
    reserved_gb: float
    """Of it: what tensors do not get (the driver's context, libraries, fragments)."""
    link_gb: float
    """10^9 bytes a second that a GPU sends to others."""
    operations: float | None
    """Operations a second of a GPU in a training; None where nobody gave or measured a rate."""
    scoring_operations: float | None = None
    """The same in a scoring; None: as in training."""

    @property
    def room(self) -> float:
        return (self.gpu_gb - self.reserved_gb) * GB


@dataclass(frozen=True)
class StagePlan:
    """One stage on one GPU."""

    name: str
    rows: int
    tokens: int
    """Of all epochs."""
    steps: int
    """Optimizer steps, or batches of a scoring."""
    memory: Held
    operations: float
    hours: float | None


@dataclass(frozen=True)
class OnGpus:
    """The whole on a number of GPUs."""

    gpus: int
    zero: int | None
    """The lowest stage of ZeRO that fits; None where none does."""
    memory_gb: float
    """Of a GPU; under ZeRO-3 where none fits."""
    compute_hours: float | None
    communication_hours: float | None
    """Without overlap with the computation, so the most."""
    idle: bool
    """Whether a step has fewer examples than there are GPUs, which is refused."""

    @property
    def hours(self) -> float | None:
        if self.compute_hours is None or self.communication_hours is None:
            return None
        return self.compute_hours + self.communication_hours


@dataclass(frozen=True)
class Planner:
    """All that the plan follows from."""

    sets: dict[str, Rows]
    """By training stage: noisy, safe, perhaps control, refit."""
    train: TrainConfig
    seed: int
    packing: bool
    micro_batch_tokens: int
    batch_tokens: int
    method: Method
    shape: Shape
    step: Rehearsed
    """The largest micro-batch of a training."""
    batch: Rehearsed
    """The largest batch of a scoring."""
    scorings: int
    machine: Machine

    @cached_property
    def alone(self) -> Held:
        return held(self.step, self.method)

    @property
    def smallest_step(self) -> int:
        """The fewest examples that a training has in a step: more ranks than these are refused."""
        return min(self.train.schedule(name).batch_size for name in self.sets)

    def training_plan(self, name: str, ranks: int) -> TrainingPlan:
        schedule, rows = self.train.schedule(name), self.sets[name]
        return training_plan(rows, schedule, self.seed, self.micro_batch_tokens, ranks, not self.packing)

    def trainings(self) -> Iterator[StagePlan]:
        full, checkpointing = self.train.method == "full", self.train.gradient_checkpointing
        for name, rows in self.sets.items():
            plan, tokens, operations = self.training_plan(name, 1), 0, 0.0
            first = len(rows) - rows.last
            for part, epochs in ((slice(first), plan.epochs), (slice(first, None), plan.last_epochs)):
                lengths, labels = rows.lengths[part], rows.labels[part]
                tokens += epochs * int(lengths.sum())
                operations += epochs * training_operations(self.shape, lengths, labels, full, checkpointing)
            hours = _hours(operations, self.machine.operations)
            yield StagePlan(f"train {name}", len(rows), tokens, plan.num_steps, self.alone, operations, hours)

    def scoring(self) -> StagePlan:
        rows, own = self.sets["noisy"], self.batch
        each = self.scorings * forward_operations(self.shape, rows.lengths, rows.labels)
        memory = Held(base_bytes(own.parameters, self.method.four_bit), own.parameters.trained_bytes, 0, 0, 0, own.peak)
        steps = self.scorings * len(plan_scoring(rows.lengths, self.batch_tokens, not self.packing))
        rate = self.machine.scoring_operations or self.machine.operations
        tokens = self.scorings * int(rows.lengths.sum())
        return StagePlan("score", len(rows), tokens, steps, memory, each, _hours(each, rate))

    def all_stages(self) -> list[StagePlan]:
        return [*self.trainings(), self.scoring()]

    def on_gpus(self) -> list[OnGpus]:
        """On 1, 2, 4, ... GPUs."""
        stages = self.all_stages()
        return [self._on(2**power, stages) for power in range(MOST_GPUS.bit_length())]

    def _on(self, gpus: int, stages: list[StagePlan]) -> OnGpus:
        zero = least_stage(self.alone, gpus, self.machine.room)
        memory = divided(self.alone, 3 if zero is None else zero, gpus).total / GB
        idle = gpus > self.smallest_step
        if zero is None or idle:
            return OnGpus(gpus, zero, memory, None, None, idle)
        known = [stage.hours for stage in stages if stage.hours is not None]
        compute = sum(known) / gpus if len(known) == len(stages) else None
        sent = 0.0
        for name in self.sets:
            plan = self.training_plan(name, gpus)
            micro, again = plan.accumulation, self.train.gradient_checkpointing
            sent += plan.num_steps * sent_bytes(self.alone, zero, gpus, micro, again)
        return OnGpus(gpus, zero, memory, compute, sent / (self.machine.link_gb * GB) / HOUR, idle)

    def fewest(self) -> dict[int, int | None]:
        """{stage of ZeRO: the fewest GPUs with which it fits, of powers of two up to 1,024}."""
        return {stage: fewest_ranks(self.alone, stage, self.machine.room, MOST_GPUS) for stage in range(4)}


def _hours(operations: float, rate: float | None) -> float | None:
    return operations / rate / HOUR if rate else None


def training_plan(
    rows: Rows, schedule: ScheduleConfig, seed: int, micro_batch_tokens: int, ranks: int, padded: bool
) -> TrainingPlan:
    """The steps of a training over a set, by the plan that the training itself has."""
    return TrainingPlan(
        lengths=rows.lengths,
        num_labels=rows.labels,
        seed=seed,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        micro_batch_tokens=micro_batch_tokens,
        world_size=ranks,
        last_rows=rows.last,
        last_epochs=schedule.trusted_epochs if rows.last and isinstance(schedule, RefitConfig) else 0,
        padded=padded,
    )


def largest_micro_batch(plan: TrainingPlan, attention: str, packing: bool) -> NDArray[np.int64]:
    """The rows of the micro-batch that fills most places, padding counted, among the first of rank 0."""
    count = min(LOOKED_AT, plan.num_steps * plan.accumulation)
    batches = (plan.micro_batch(0, number) for number in range(count))
    return max(batches, key=lambda rows: places(plan.lengths[rows], attention, packing))


def largest_batch(lengths: NDArray[np.int64], batch_tokens: int, attention: str, packing: bool) -> NDArray[np.int64]:
    """The rows of the largest batch of a scoring, in the same sense."""
    batches = plan_scoring(lengths, batch_tokens, not packing)
    return max(batches, key=lambda rows: places(lengths[rows], attention, packing))


def places(lengths: NDArray[np.int64], attention: str, packing: bool) -> int:
    """Tokens and padding of a batch."""
    if not len(lengths):
        return 0
    found, width = row_places(lengths.tolist(), layout_for(attention, packing))
    return width * (1 + max(row for row, _ in found))
