"""The mix stage: the canonical noisy, safe and control records and the evaluation prompts of a run.

Without a mixture the sources are read as streams: only the ids of the trusted sets stay in memory, and nothing of the
noisy set. A row's own `source` takes the place of the key of its source, and its `label` is kept where it is one of
records.LABELS. Everything is written beside data/ and moved there once it is whole, so that the result of an earlier
mix stays where this one is refused.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from forgetfilter.config.filter_checks import probes_needed
from forgetfilter.config.registry import ATTACKS
from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.data.original_rows import Originals
from forgetfilter.data.records import LABELS, Learn, write_records
from forgetfilter.data.shapes import to_messages
from forgetfilter.data.sources import as_input, fingerprint, read_originals, renamed
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError, printable
from forgetfilter.files import sha256_value, write_json
from forgetfilter.mix.benchmarks.mixture import Mixture, compose, pool_sources
from forgetfilter.mix.given_prompts import asked_sources, given_prompts, write_prompts
from forgetfilter.mix.probes import set_aside
from forgetfilter.mix.sets import Example, Trusted, content_key, of_records, own_source, records, some, write_set
from forgetfilter.process.progress import console
from forgetfilter.storage.run_folder import Run, folder_of
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage, Task

VERSION = 2  # of the files that are written; raise it to have mixes by earlier code done again


@dataclass(frozen=True)
class Sets:
    """The rows of each set, before any is left out."""

    noisy: Iterable[Example]
    safe: Callable[[], Iterable[Example]]
    """Yields all safe rows each time that it is called."""
    probes: list[Example]
    control: Iterable[Example]
    aside: set[bytes]
    """Content keys of the safe rows that become probes."""
    safe_tasks: bool
    """Whether the safe set keeps its tasks."""
    learn: Learn
    """Which answers of a row are learned."""


def mix(paths: RunPaths, config: Config) -> dict[str, Any]:
    """Writes data/{noisy,safe,control}.jsonl, data/eval/SUITE.jsonl and data/summary.json; returns the last.

    The summary: {"noisy", "safe" and perhaps "control": {"rows", "by_source": {SOURCE: {LABEL: rows}}},
    "eval": {SUITE: prompts}, "skipped": {CONFIG KEY: {REASON: rows}}}. Where there is something to tell it also has
    "set_aside" (safe rows that became probes), "taken_out" ({TRUSTED SET: noisy rows that are in it}) and "fields"
    ({CONFIG KEY: see Told.counts}).
    """
    scratch = RunPaths(paths.folder / ".mix")
    shutil.rmtree(scratch.folder, ignore_errors=True)
    try:
        summary = _write(config, scratch)
        write_json(scratch.folder / "data" / "summary.json", summary)
        _replace(paths, scratch)
    finally:
        shutil.rmtree(scratch.folder, ignore_errors=True)
    return summary


def _write(config: Config, paths: RunPaths) -> dict[str, Any]:
    prompts, skipped = given_prompts(config)
    summary: dict[str, Any] = {}
    told: dict[str, Told] = {}
    if not config.only_evaluates:
        originals = Originals(paths.originals)
        remarks: list[str] = []
        if config.mixture is None:
            sets = _of_sources(config, originals, told, remarks)
        else:
            mixture = compose(config.mixture, config.seed)
            sets = _of_mixture(mixture, config, remarks)
            prompts |= mixture.prompts
            skipped |= mixture.skipped
        summary |= write_sets(paths, sets, originals, config.has_control)
        if not summary["safe"]["rows"]:
            raise UserError("data.safe_tasks: every row of the safe set is labelled task: nothing is left without them")
        originals.finish(paths.noisy_data)
        for line in [*remarks, *(line for key, source in told.items() for line in source.lines(key))]:
            console.print(line, markup=False, soft_wrap=True)  # here nothing can be refused any more
    write_prompts(paths, prompts)
    fields = {key: counts for key, source in told.items() if (counts := source.counts())}
    summary |= {"eval": {suite: len(rows) for suite, rows in sorted(prompts.items())}, "skipped": skipped}
    return summary | ({"fields": fields} if fields else {})


def _replace(paths: RunPaths, scratch: RunPaths) -> None:
    """Puts the new data in the place of the old. A kill between the two renames leaves none, and mix runs again."""
    try:
        if (paths.folder / "data").exists():
            os.replace(paths.folder / "data", scratch.folder / "old")
        os.replace(scratch.folder / "data", paths.folder / "data")
    except OSError as error:
        raise UserError(f"{paths.folder / 'data'} cannot be written: {error.strerror}") from error


def input_hash(config: Config) -> str:
    """What the mix depends on: its settings, the seed of a mixture, and the contents of its sources."""
    used: dict[str, SourceConfig] = {f"eval.data.{name}": source for name, source in asked_sources(config).items()}
    if config.eval.bbq_metadata and ("eval.data.bias" in used or not config.only_evaluates):
        used["eval.bbq_metadata"] = config.eval.bbq_metadata
    if config.mixture is None:
        data = config.data
        sets = {"noisy": data.noisy, "safe": data.safe, "probes": data.probes, "control": data.control}
        used |= {f"data.{kind}.{name}": source for kind, sources in sets.items() for name, source in sources.items()}
        drawn: Any = None
    else:
        used |= pool_sources(config.mixture)
        mixture = as_input(asdict(config.mixture))
        # the hash of runs without a control set is that of before there were any, so they stay done
        if not config.has_control:
            mixture = {key: value for key, value in mixture.items() if not key.startswith("control")}
        if not mixture["attack"]:  # what there was before there were any
            del mixture["attack"]
        drawn = {"mixture": mixture, "seed": config.seed}
    sources = {key: [as_input(asdict(source)), fingerprint(source)] for key, source in used.items()}
    # The order of the sources is that of the rows; the hash sorts its keys and would lose it.
    parts = {"version": VERSION, "sources": sources, "order": list(used), "drawn": drawn}
    share = config.data.probe_share
    # the hash of runs that do not set it is that of before it existed, so they stay done
    if not config.gives_probes and share != DataConfig.probe_share:
        parts["probe_share"] = share
    if not config.data.safe_tasks:
        parts["safe_tasks"] = False
    if config.mixture and (packages := ATTACKS.packages({config.mixture.attack})):
        parts["packages"] = packages
    if config.data.learn != "last":  # what there was before there was a choice
        parts["learn"] = config.data.learn
    return sha256_value(parts)


def _of_sources(config: Config, originals: Originals, told: dict[str, Told], remarks: list[str]) -> Sets:
    data = config.data
    probes = list(examples(data.probes, "data.probes", told))
    fewest, rule = probes_needed(config)
    if config.gives_probes and len(probes) < fewest:
        raise UserError(f"data.probes: {len(probes)} rows, {rule} needs at least {fewest}")
    safe = ((row[2], content_key(row)) for row in examples(data.safe, "data.safe", told))
    aside = set_aside(safe, config, remarks)
    # read again rather than kept in memory; what it holds is told only once
    again = partial(examples, data.safe, "data.safe", {})
    noisy, control = examples(data.noisy, "data.noisy", told, originals), examples(data.control, "data.control", told)
    return Sets(noisy, again, probes, control, aside, data.safe_tasks, data.learn)


def _of_mixture(mixture: Mixture, config: Config, remarks: list[str]) -> Sets:
    safe = partial(of_records, mixture.safe)
    aside = set_aside(((row[2], content_key(row)) for row in safe()), config, remarks)
    noisy, control = of_records(mixture.noisy), of_records(mixture.control)
    data, probes = config.data, [*of_records(mixture.probes)]
    return Sets(noisy, safe, probes, control, aside, data.safe_tasks, data.learn)


def examples(
    sources: Mapping[str, SourceConfig], key: str, told: dict[str, Told], originals: Originals | None = None
) -> Iterator[Example]:
    """The rows of all sources as examples, one at a time, in the order of the sources; `originals` keeps them."""
    for name, source in sources.items():
        if not name.isprintable():
            raise UserError(f"{key}: the name {printable(name)[:40]!r} has control characters in it")
        notes = told.setdefault(f"{key}.{name}", Told())
        rows = read_originals(source, f"{key}.{name}", notes)
        if originals:
            rows = originals.keep(name, source, rows)
        for where, row in renamed(rows, source, f"{key}.{name}"):
            messages = to_messages(row, where, notes)
            label = row.get("label") if source.claims and row.get("label") in LABELS else None
            own = own_source(row, where) if source.claims else ""
            notes.claims.update(what for what, claim in (("source", own), ("label", label)) if claim)
            yield where, messages, own or name, label
        for column in source.columns.values():  # it is learned under its other name
            notes.left_out.pop(column, None)


def write_sets(paths: RunPaths, sets: Sets, originals: Originals, has_control: bool) -> dict[str, Any]:
    """Writes the sets of records; returns the counts of each. Trusted sets that share rows are refused.

    The probes are the last rows of the noisy set, without labels, so that no quality is measured on them. The file
    `paths.probes` has them once more; it is missing where there are none.
    """
    trusted, made = Trusted(), partial(records, learn=sets.learn)
    given = [*sets.probes, *(row for row in sets.safe() if content_key(row) in sets.aside)]
    probes: list[Example] = [(where, rows, source, None) for where, rows, source, _ in trusted.apart(given, "probe")]
    if probes:
        write_records(paths.probes, made(probes))
    safe = (row for row in sets.safe() if content_key(row) not in sets.aside)
    learned = (row for row in trusted.apart(safe, "safe") if sets.safe_tasks or row[3] != "task")
    counts: dict[str, Any] = {"safe": write_set(paths.safe_data, made(learned))}
    if has_control:
        counts["control"] = write_set(paths.control_data, made(trusted.apart(sets.control, "control")))
    noisy = trusted.others(sets.noisy, originals.leave_out)
    counts["noisy"] = write_set(paths.noisy_data, made(chain(noisy, probes)))
    if trusted.left_out:
        number = sum(trusted.left_out.values())
        console.print(f"data.noisy: {number} rows left out, for they are trusted ones too ({some(trusted.shown)})")
        counts["taken_out"] = dict(trusted.left_out)
    if sets.aside:
        counts["set_aside"] = len(probes) - len(sets.probes)
    return counts


@dataclass(frozen=True)
class Mixing(Task):
    """The mix of a run, which depends on nearly all of its settings."""

    paths: RunPaths
    config: Config

    def inputs(self) -> object:
        return input_hash(self.config)

    def work(self) -> None:
        mix(self.paths, self.config)


def settings(run: Run) -> Mixing:
    return Mixing(RunPaths(run.folder), run.config)


# Nothing is removed before it starts, since it replaces the earlier result only when its own is whole.
MIX = Stage("mix", settings, files=("data/summary.json",), folder="data")


def mixed(config: Config, scratch: Path) -> RunPaths:
    """The data of the configuration's run where its mix is done with these settings, else of a mix in `scratch`."""
    here = folder_of(config)
    if (here / "config.yaml").exists() and (run := Run(here, config)).is_done("mix", MIX.task(run).input_hash()):
        return run
    mix(RunPaths(scratch), config)
    return RunPaths(scratch)
