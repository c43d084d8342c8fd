"""How far off an estimate of the time left would have been in finished runs: `python bench/time_left.py RUN...`

After each stage, the time that is left until the evaluation is estimated as the tool could at best: each example still
to be learned takes the mean seconds of those that were learned before in this run, and each one to be scored half of
it, as a forward pass without a backward one does where adapters are trained. How many rows the refit learns is taken
as known, although nobody knows it before the filter has decided. Prints a line for each stage: the estimate, the truth,
and the error, (estimate - truth) / truth. What the evaluation takes is no part of either, and is printed beside them.
"""

import sys
from pathlib import Path

import polars as pl

from forgetfilter.storage.results import read_state

LEARNING = ("train-noisy", "train-safe", "train-refit")


def main() -> None:
    for run in map(Path, sys.argv[1:]):
        seconds = {name: float(entry["seconds"]) for name, entry in read_state(run).items()}
        if missing := [name for name in (*LEARNING, "score") if name not in seconds]:
            raise SystemExit(f"{run} lacks {missing[0]}")
        work = {name: _rows(run / "train" / name.removeprefix("train-") / "losses") for name in LEARNING}
        scored = _rows(run / "signals" / "before") + _rows(run / "signals" / "after")
        print(f"{run.name}: {_told(seconds, work, scored)}")


def _rows(folder: Path) -> int:
    return int(pl.scan_parquet(folder / "**" / "*.parquet").select(pl.len()).collect().item())


def _told(seconds: dict[str, float], work: dict[str, int], scored: int) -> str:
    lines, order = [], ["train-noisy", "train-safe", "score", "train-refit"]
    for place, name in enumerate(order[:-1], 1):
        done, ahead = [one for one in order[:place] if one in work], order[place:]
        pace = sum(seconds[one] for one in done) / sum(work[one] for one in done)
        guess = pace * sum(work.get(one, scored / 2) for one in ahead)
        truth = sum(seconds[one] for one in ahead)
        lines.append(f"after {name} {guess:.0f} s, truth {truth:.0f} s, error {guess / truth - 1:+.0%}")
    return "; ".join(lines) + f"; evaluation {seconds.get('eval', 0):.0f} s"


if __name__ == "__main__":
    main()
