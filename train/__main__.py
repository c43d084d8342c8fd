"""`python -m forgetfilter.train RUN STAGE` runs one rank of a finetuning, alone or under torchrun or deepspeed."""

import argparse
import sys
from pathlib import Path

from forgetfilter.models.prepare import prepare_tokens
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import process_group
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.passes import leave_measures
from forgetfilter.storage.run_folder import Run

from .finetuning import train
from .stage import NAMES, settings


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="forgetfilter.train", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("stage", choices=NAMES)
    parser.add_argument("--local_rank", help="set by the deepspeed launcher; the environment has it too")
    options = parser.parse_args(argv)
    task = settings(Run.open(options.run), options.stage)
    interrupts.install()
    prepare_tokens(task.model, task.data, task.max_length)
    with process_group(task.ranks.timeout) as world:
        train(task, world)
        leave_measures(options.run)


if __name__ == "__main__":
    raise SystemExit(exit_code_of(lambda: main(sys.argv[1:])))
