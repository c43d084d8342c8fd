"""`forgetfilter run CONFIG --check-determinism`: does the same seed give the same model here, as it is configured?

A few steps of the noisy training are done twice, by the stage itself, on the first rows of the run's data: with the
configured model, method, ranks and DeepSpeed. On a CPU losses and weights must be equal to the bit. On a GPU they may
differ within LOSS and WEIGHTS, because atomic additions and the choice of kernels add floating-point numbers in an
order of their own each time (docs/runs.md).
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from forgetfilter.config.load import with_settings
from forgetfilter.config.schema import Config
from forgetfilter.errors import Stopped, UserError
from forgetfilter.files import scratch_folder, write_text
from forgetfilter.storage.run_folder import Run, folder_of
from forgetfilter.storage.shards import merged
from forgetfilter.storage.stage import Stage, load

STEPS = 3
LOSS = 0.02  # nats a token, of any row
WEIGHTS = 0.05  # the length of the difference of all weights over their own length


@dataclass(frozen=True)
class Difference:
    """Of two trainings."""

    rows: int
    other_rows: int
    """Rows whose loss is not the same to the bit."""
    loss: float
    """The largest difference, in nats a token."""
    tensors: int
    other_tensors: int
    weights: float
    """The length of the difference of all weights, over the length of the weights."""

    def allowed(self, exact: bool) -> bool:
        """Whether the two count as the same, to the bit or within the tolerance; NaN never does."""
        if exact:
            return not (self.other_rows or self.other_tensors)
        return self.loss <= LOSS and self.weights <= WEIGHTS

    def told(self) -> str:
        """What differs, for people."""
        return (
            f"the losses of {self.other_rows} of {self.rows} rows differ (by up to {self.loss:.2g} nats a token), and "
            f"{self.other_tensors} of {self.tensors} trained tensors (together by {100 * self.weights:.2g}% of their "
            "length)"
        )


def check_determinism(config: Config) -> str:
    """A line that says how far two trainings agree; UserError with what differs where that is too much."""
    import torch

    if config.only_evaluates:
        raise UserError("--check-determinism: this configuration trains nothing")
    exact, run = not torch.cuda.is_available(), folder_of(config)
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output: {run.parent} cannot be written: {error.strerror or error}") from error
    try:
        with scratch_folder(run) as scratch:
            rows = _first_rows(config, scratch)
            found = difference(*(_trained(config, scratch / name, rows) for name in ("first", "second")))
    except Stopped as stopped:
        raise Stopped("the check was stopped by a signal, and nothing of it is kept; give it again") from stopped
    what = f"{STEPS} steps at most on {found.rows} rows, twice with seed {config.seed}"
    if not found.allowed(exact):
        more = "" if exact else f"; {LOSS} nats a token and {100 * WEIGHTS:g}% are allowed on a GPU"
        raise UserError(f"--check-determinism: {what}: {found.told()}{more}: see docs/runs.md, Determinism")
    return f"{what}: {found.told() if found.other_rows or found.other_tensors else 'equal to the bit'}"


def _first_rows(config: Config, scratch: Path) -> str:
    """The first rows of the noisy set, of the run where it is mixed already."""
    from forgetfilter.mix.stage import mixed

    with open(mixed(config, scratch).noisy_data, encoding="utf-8") as lines:
        return "".join(islice(lines, STEPS * config.train.noisy.batch_size))


def _trained(config: Config, folder: Path, rows: str) -> Path:
    """The folder of the model that the stage makes of these rows, in a run folder of its own."""
    own: dict[str, object] = {"output": str(folder.parent), "name": folder.name, "tracking.mode": "disabled"}
    own |= {"train.noisy.epochs": 1, "train.checkpoint_steps": 0, "train.log_losses": True}
    run = Run.create(with_settings(config, own, "--check-determinism"))
    write_text(run.noisy_data, rows)
    load("forgetfilter.train.stage:NOISY", Stage).task(run).work()
    return run.model("noisy")


def difference(first: Path, second: Path) -> Difference:
    """Of two folders with trained weights and loss logs of the same rows."""
    import torch
    from safetensors import safe_open

    one, other = (merged(folder / "losses") for folder in (first, second))
    assert one["id"].equals(other["id"])
    apart = (one["loss_sum"] - other["loss_sum"]).abs() / one["num_tokens"]
    tensors = different = 0
    squares = off = 0.0
    for file in sorted(first.glob("*.safetensors")):
        with safe_open(file, "pt") as mine, safe_open(second / file.name, "pt") as theirs:
            for name in mine.keys():  # noqa: SIM118 - it is no mapping
                a, b = mine.get_tensor(name), theirs.get_tensor(name)
                tensors, different = tensors + 1, different + (not torch.equal(a, b))
                squares += a.double().square().sum().item()
                off += (a.double() - b.double()).square().sum().item()
    assert tensors, f"{first} has no weights"
    loss = max(apart.to_list(), default=0.0)
    return Difference(len(one), int((apart != 0).sum()), loss, tensors, different, (off / max(squares, 1e-300)) ** 0.5)
