"""What `forgetfilter filter RUN` answers besides deciding: --sweep, --why ID and --review."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from forgetfilter.config.load import written
from forgetfilter.process.progress import results
from forgetfilter.storage.results import read_summary

from .. import rules
from ..task import FilterTask
from . import review, sweep, texts, why


def answer(task: FilterTask, swept: bool, asked: str | None, reviewed: int | None, reveal: bool, as_json: bool) -> None:
    """Prints and writes what was asked for, and decides nothing. Raises UserError where that is impossible.

    The texts of examples are masked unless `reveal`.
    """
    console, paths = results(), task.paths
    if as_json:
        told = why.masked(why.why(paths, asked), reveal) if asked is not None else sweep.sweep(task).to_dicts()
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return
    if swept:
        console.print(sweep.shown(sweep.sweep(task), task))
        _say(console, paths.folder / "filter" / "sweep.html")
    if asked is not None:
        console.print(why.shown(why.why(paths, asked), reveal))
    if reviewed is not None:
        _say(console, review.write(paths, reviewed, reveal))
        if not reveal:
            console.print(texts.HINT)
        console.print("Write yes (keep) or no (drop) into its column keep, then decide again:")
        _say(console, " ".join(["forgetfilter filter", shlex.quote(str(paths.folder)), *_settings(task)]))


def _settings(task: FilterTask) -> list[str]:
    """The settings of the present decision that differ from the run's config."""
    own = asdict(task.options)
    used = read_summary(task.paths.folder).get("filter", own)
    rule = rules.get(used["rule"])
    foreign = {key for other in rules.every() for key in other.settings} - {*rule.settings}
    replaced = {old for key, old in rule.replaces.items() if used.get(key) is not None}
    read = {key: value for key, value in used.items() if key not in foreign | replaced}
    return [written(f"filter.{key}", value) for key, value in read.items() if value != own.get(key)]


def _say(console: Console, what: Path | str) -> None:
    console.print(str(what), soft_wrap=True, markup=False)
