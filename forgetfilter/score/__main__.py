"""One rank of a scoring:  python -m forgetfilter.score RUN  (alone, or under torchrun)."""

import sys
from pathlib import Path

from forgetfilter.models.prepare import prepare_rivals, prepare_tokens
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import guard
from forgetfilter.process.peak_memory import leave_peaks
from forgetfilter.score.parts import score
from forgetfilter.storage.run_folder import Run


def main(argv: list[str]) -> None:
    """Scores the run folder `argv[0]`, as one rank of the world."""
    run = Run.open(Path(argv[0]), argv[1:])
    interrupts.install()
    prepare_tokens(run, run.noisy_data)
    if run.config.score.gradients:
        prepare_tokens(run, run.safe_data)
    prepare_rivals(run)
    with process_group() as world:
        score(run, world)
        leave_peaks(run.folder)


if __name__ == "__main__":
    raise SystemExit(guard(lambda: main(sys.argv[1:])))
