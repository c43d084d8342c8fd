"""One rank of a scoring:  python -m forgetfilter.score RUN  (alone, or under torchrun)."""

import sys
from pathlib import Path

from forgetfilter.models.prepare import find_other_models, prepare_tokens
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.passes import leave_measures
from forgetfilter.score.parts import score
from forgetfilter.score.stage import settings
from forgetfilter.score.tracked import log_scoring
from forgetfilter.storage.run_folder import Run


def main(argv: list[str]) -> None:
    """Scores the run folder `argv[0]`, as one rank of the world."""
    scoring = settings(Run.open(Path(argv[0]), argv[1:]))
    interrupts.install()
    prepare_tokens(scoring.model, scoring.paths.noisy_data, scoring.max_length)
    if scoring.options.gradients:
        prepare_tokens(scoring.model, scoring.paths.safe_data, scoring.max_length)
    find_other_models(scoring.options)
    with process_group(scoring.ranks.timeout) as world, scoring.track() as tracker:
        score(scoring, world)
        if world.is_main:
            log_scoring(scoring, tracker)
        leave_measures(scoring.paths.folder)


if __name__ == "__main__":
    raise SystemExit(exit_code_of(lambda: main(sys.argv[1:])))
