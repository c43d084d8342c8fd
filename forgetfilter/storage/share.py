"""How much of a run's work is done, as far as that can be known: by the examples that are learned or scored."""

from collections.abc import Collection
from pathlib import Path

from forgetfilter.config.schema import Config
from forgetfilter.storage.results import read_set_rows


def share_done(config: Config, folder: Path, done: Collection[str]) -> float | None:
    """The least share of the run's passes over examples that the stages `done` have made; None where nothing is
    trained, and before the mix, which makes the sets' numbers anew where their file is damaged.

    How many rows the refit learns is known once the filter has decided, so it is taken to learn all that it may.
    """
    if config.only_evaluates or "mix" not in done or not (folder / "data" / "summary.json").exists():
        return None
    work = config.work(read_set_rows(folder))
    return sum(count for name, count in work.items() if name in done) / max(1, sum(work.values()))
