"""Disturbs a small pipeline in every way and at every stage, and writes docs/reliability.md and
bench/results/faults.json.

    make test-faults      (or, in tests/: python -m faults [--number 194] [--seed 0] [--again] [--new])

An hour or more on two cores. With --new and nothing new the page alone is written. Exit code 1 where a fault was not
survived; the page names it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from conftest import make_tiny_model
from faults.harness import KINDS, RANK, SILENT, SLOW, Case, Harness, draw, draw_ranked
from faults.toy import STAGES

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULT = ROOT / "docs" / "reliability.md", ROOT / "bench" / "results" / "faults.json"
SOAK = RESULT.with_name("soak.json")
HEAD = """\
# Reliability: what was tried, and survived

This page is written by `make test-faults` (tests/faults). A pipeline with a tiny model is disturbed in one stage, and
then the same command is given again. A fault is survived where the disturbed command ended in exit 2 or 75 with one
line, or was killed, and the second one came to the ids, losses, adapters (to the bit), decisions and metrics of the
undisturbed pipeline, and left no scratch file behind. A damaged file counts as survived where `forgetfilter run` makes
everything as it was, or says in one line what to delete and then does.

- **At a call**: the process is killed or warned, the disk is full or read-only from then on, a second process is
  started, or the folder is renamed, just before its N-th open for writing, fsync, rename, unlink or save; N is drawn.
- **At random**: the signal comes after a drawn share of the time that the stage takes.
- **A file** of the run folder, drawn after the stage, is cut, emptied, deleted or exchanged with another, or has one
  bit flipped. An edited `filter/kept.jsonl` is the user's own, and has only to be said.
- **A rank killed** or suspended (SIGSTOP): one of two gloo ranks, at a drawn moment. One that is suspended for good is
  given up by the other after `launch.timeout` (30 s here), which ends in exit 75. One that goes on after 5 s must
  change nothing.
"""
RANKED_KINDS, EACH_RANKED = (RANK, SILENT, SLOW), 10
ALL_KINDS = (*KINDS, *RANKED_KINDS)

SECRETS = """
Secrets (tests/test_whole_pipeline.py): of those that are planted in the environment, netrc and the address of the
repository none is found in the run folder, W&B's files, reports, output, refusals or a traceback."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=194, help="faults in one process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="only those that were not survived the last time")
    parser.add_argument("--new", action="store_true", help="only those that the last result lacks")
    options = parser.parse_args()
    cases = draw(options.number, options.seed)
    ranked = [draw_ranked(EACH_RANKED, options.seed, kind) for kind in RANKED_KINDS]
    cases += [case for turn in zip(*ranked, strict=True) for case in turn]
    stored = json.loads(RESULT.read_text()) if options.again or options.new else []
    wrong = {Case(**one["case"]): one["wrong"] for one in stored}
    cases = [case for case in cases if case not in wrong or (options.again and wrong[case])]
    if cases:
        _try(cases, wrong)
    write_page(wrong, _malformed())
    return 1 if any(wrong.values()) else 0


def _try(cases: list[Case], wrong: dict[Case, str]) -> None:
    """Adds what was wrong with each case, and stores it at once."""
    with tempfile.TemporaryDirectory() as folder:
        made = Harness(Path(folder), _model(Path(folder)))
        for number, case in enumerate(cases, 1):
            wrong[case] = made.try_case(case)
            print(f"{number}/{len(cases)} {case}: {wrong[case] or 'survived'}", flush=True)
            told = [{"case": asdict(case), "wrong": said} for case, said in wrong.items()]
            RESULT.write_text(json.dumps(told, indent=1) + "\n")


def write_page(wrong: dict[Case, str], inputs: str) -> None:
    PAGE.write_text("\n".join([HEAD, *_table(wrong), *_told(wrong, inputs), *_soak(), SECRETS]) + "\n")


def _soak() -> list[str]:
    """What bench/soak.py has measured last."""
    told = json.loads(SOAK.read_text())
    if "after_each_start" not in told:  # by an earlier form of the bench
        return []
    last, merges = told["last_stretch"], told["merges"]
    steps, memory, handles = last["steps"], last["memory_mb"], last["handles"]
    time, kept, starts = last["processor_ms_a_step"], merges["memory_mb"], told["after_each_start"]
    begun, held = starts["processor_s_up_to_the_first_step"], starts["memory_mb"]
    soak = (
        f"Soak (bench/soak.py): {told['steps']:,} steps with the hook, checkpoints and {told['shards']} shards, in a "
        f"pipeline that was resumed {told['resumes']} times. From step {steps[0]:,} to {steps[1]:,} of its last "
        f"process memory went from {memory[0]} to {memory[1]} MB, handles from {handles[0]} to {handles[1]}, and the "
        f"processor's time for a step from {time[0]} to {time[1]} ms. The first process held {held[0]} MB and took "
        f"{begun[0]} s of the processor up to its first step, the last one {held[-1]} MB and {begun[-1]} s. In "
        f"{merges['merges']} merges of {merges['shards']:,} shards of {merges['ranks']} ranks memory went "
        f"from {kept[0]} to {kept[1]} MB."
    )
    return ["", *textwrap.wrap(soak, 118)]


def _model(folder: Path) -> Path:
    return make_tiny_model(folder / "tiny-llama")


def _table(wrong: dict[Case, str]) -> list[str]:
    """Survived of tried, by kind and stage."""
    tried, survived = (
        Counter((case.kind, case.stage) for case, said in wrong.items() if counts(said))
        for counts in (lambda said: True, lambda said: not said)
    )
    lines = [f"| fault | {' | '.join(STAGES)} | all |", f"| --- |{' ---: |' * (len(STAGES) + 1)}"]
    for kind in ALL_KINDS:
        cells = [(survived[kind, stage], tried[kind, stage]) for stage in STAGES]
        lines.append(_row(kind, [*cells, _sum(cells)]))
    columns = [_sum((survived[kind, stage], tried[kind, stage]) for kind in ALL_KINDS) for stage in STAGES]
    return [*lines, _row("all", [*columns, _sum(columns)])]


def _sum(cells: Iterable[tuple[int, int]]) -> tuple[int, int]:
    given = list(cells)
    return sum(one for one, _ in given), sum(other for _, other in given)


def _row(name: str, cells: list[tuple[int, int]]) -> str:
    told = [f"{one} of {other}" if other else "" for one, other in cells]
    return f"| {name} | {' | '.join([*told[:-1], told[-1] or 'not tried yet'])} |"


def _malformed() -> str:
    """What pytest says of the malformed inputs."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/malformed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip().splitlines()[-1].partition(" in ")[0]


def _told(wrong: dict[Case, str], inputs: str) -> list[str]:
    failed = [f"- {case}: {said.splitlines()[0]}" for case, said in wrong.items() if said]
    return [
        *(["", "Not survived:", "", *failed] if failed else []),
        "",
        "Malformed inputs (tests/malformed: settings, data, prompts, models, templates, DeepSpeed files, files of a",
        f"run): {inputs}. Each comes to exit code 2 and one line.",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
