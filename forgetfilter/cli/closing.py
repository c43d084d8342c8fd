"""The last lines of a command on a run: what came of it, what is out of date, what to do next, and the run folder."""

import shlex
from collections.abc import Sequence
from pathlib import Path

PAGES = {"filter": ("filter/dropped.jsonl",), "mix": ("data/summary.json",)}  # what to look at; the first that is there
REPORTS = ("report.html", "eval/metrics.md")
NEXT = {
    "run": "forgetfilter filter {run} --review, or forgetfilter export {run}",
    "mix": "forgetfilter train {run} noisy safe",
    "train": "forgetfilter score {run}",
    "refit": "forgetfilter eval {run}",
    "score": "forgetfilter filter {run}",
    "filter": "forgetfilter filter {run} --review, or forgetfilter train {run} refit",
    "report": "forgetfilter filter {run} --review",
}


def close(command: str, folder: Path, stale: tuple[str, ...]) -> None:
    """Prints the closing tables of the run, or only that of the decision, and the run folder as the last line."""
    from forgetfilter.process.progress import is_quiet, results
    from forgetfilter.report.card import outdated
    from forgetfilter.report.terminal import closing_table, filter_table
    from forgetfilter.storage.results import is_decided, read_summary

    console = results(is_quiet())
    summary = read_summary(folder) if command == "filter" else None
    console.print(filter_table(summary) if summary else closing_table(folder, stale))
    if told := outdated(folder, stale):
        console.print(told["what"], style="bold", markup=False)
        console.print(told["mend"], soft_wrap=True, markup=False)
    end(command, folder, (command,) if is_decided(folder) else ())


def end(command: str, folder: Path, done: Sequence[str]) -> None:
    """Says on stderr what to look at, and what comes after the last of what was `done`; prints the run folder."""
    from forgetfilter.process.progress import console
    from forgetfilter.process.weights_and_biases import how_to_sync

    there = (page for page in PAGES.get(command, REPORTS) if (folder / page).exists())
    if command not in ("train", "score") and (page := next(there, None)):
        console.print(f"open {shlex.quote(str(folder / page))}", soft_wrap=True)
    if step := next((NEXT[name] for name in reversed(done) if name in NEXT), None):
        console.print(f"next: {step.format(run=shlex.quote(str(folder)))}", soft_wrap=True)
    if upload := how_to_sync(folder):
        console.print(f"W&B is kept offline; to upload it: {upload}", soft_wrap=True)
    print(folder)
