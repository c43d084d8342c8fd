"""How much of a run's work is done, as far as that can be known: by the examples that are learned or scored."""

from collections.abc import Collection
from pathlib import Path

from forgetfilter.config.schema import Config
from forgetfilter.files import read_json


def share_done(config: Config, folder: Path, done: Collection[str]) -> float | None:
    """The least share of the run's passes over examples that the stages `done` have made; None where nothing is
    trained, and before the mix, which makes the sets' numbers anew where their file is damaged.

    How many rows the refit learns is known once the filter has decided, so it is taken to learn all that it may.
    """
    path = folder / "data" / "summary.json"
    if config.only_evaluates or "mix" not in done or not path.exists():
        return None
    rows = {name: told["rows"] for name, told in read_json(path).items() if name in ("noisy", "safe", "control")}
    trained = ["noisy", "safe", *(["control"] if config.has_control else []), "refit"]
    work = {
        f"train-{name}": sum(count * epochs for count, epochs in config.train.passes(name, rows)) for name in trained
    }
    work["score"] = config.scorings * rows["noisy"]
    return sum(count for name, count in work.items() if name in done) / max(1, sum(work.values()))
