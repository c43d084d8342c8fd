"""The decision: scores from stored signals, a rule over them, a person's review, and the files that hold the result."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.config.registry import RULES, SIGNALS
from forgetfilter.data import original_rows
from forgetfilter.errors import UserError
from forgetfilter.files import disk_trouble, sha256_file, sha256_value, write_json
from forgetfilter.storage import review as review_file
from forgetfilter.storage.formats import Counts, Exported, Summary
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import STATES, read_manifest, scan

from . import quality, rules, signals
from .decisions import Decisions
from .export import write_export
from .foretell import add_foretold
from .inspecting import review
from .probes import read_probes
from .split import write_split
from .swept import for_the_page
from .table.joined_table import Table, joined
from .table.stored_columns import NOISE, stored_folders
from .task import FilterTask
from .texts import text_columns
from .threshold_line import threshold_line

VERSION = 3  # of the files that are written; decisions of another version are made again
PROBES_HELP = "; trusted probes (data.probes, docs/signals.md) let conformal decide, and quantile drops a given share"
KINDS_NOT_HARM = (
    "; mind that pooled scores fall into heaps by kind of row, harmful or not: of clean data 60% were dropped so "
    "(docs/findings.md), so look at what was dropped, or use probes and the rule conformal"
)


def input_hash(task: FilterTask) -> str:
    """The hash of all that the decision depends on: filter settings, every scoring's manifest, the data, a review."""
    paths = task.paths
    folder = paths.signals("")
    further = [*(f"rouge1/{state}" for state in STATES), *stored_folders()]
    given = [*STATES, *(name for name in further if (folder / name / "manifest.json").exists())]
    logged = paths.model("noisy") / "losses"
    parts = {
        "version": VERSION,
        "filter": {key: value for key, value in asdict(task.options).items() if key != "too_long"},
        "manifests": {name: read_manifest(folder / name) for name in given},
        "dynamics": read_manifest(logged) if (logged / "manifest.json").exists() else None,
        "data": [sha256_file(path) for path in (paths.noisy_data, paths.safe_data, paths.probes) if path.exists()],
    }
    names = {task.options.signal, *task.options.combine}
    if packages := SIGNALS.packages(names) | RULES.packages({task.options.rule}):
        parts["packages"] = packages
    if reviewed := review_file.read(task.paths.folder):
        parts["review"] = reviewed
    if paths.unread.exists():  # as long as all was scored, the hash is that of before there was the choice
        parts["too_long"] = [task.options.too_long, sha256_file(paths.unread)]
    return sha256_value(parts)


def decide(task: FilterTask) -> Summary:
    """Writes filter/{decisions.parquet, kept.jsonl, dropped.jsonl, sweep.json, export, summary.json} of a run.

    Returns the summary. Nothing is written where a check fails. summary.json comes last and is gone while the others
    change.
    """
    with deciding(task) as decisions:
        summary = summarise(decisions, task)
        folder = task.paths.folder / "filter"
        (folder / "summary.json").unlink(missing_ok=True)
        decisions.write(folder / "decisions.parquet")
        write_split(task.paths.noisy_data, folder, decisions)
        _write_sweep(folder, decisions, task)
        summary = {**summary, **export(task.paths, decisions)}
        write_json(folder / "summary.json", summary)
    return summary


def _write_sweep(folder: Path, decisions: Decisions, task: FilterTask) -> None:
    """filter/sweep.json for the report, of this decision or absent."""
    signal = signals.chosen(task.options.signal, task.options.combine)
    (folder / "sweep.json").unlink(missing_ok=True)
    if told := for_the_page(decisions, signal.name, task.options):
        write_json(folder / "sweep.json", told)


def export(paths: RunPaths, decisions: Decisions) -> Exported:
    """Writes filter/export where the run has the original rows. Returns the entry of summary.json, or why there is
    none. A full disk ends the decision, so that the same command makes the export once there is room."""
    try:
        originals = original_rows.find(paths.originals, paths.noisy_data)
        counts = write_export(originals, decisions.drop, decisions.apart, paths.folder / "filter" / "export")
    except (UserError, OSError) as error:  # the rows belong to the user, and may be gone long after they were read
        shutil.rmtree(paths.folder / "filter" / "export", ignore_errors=True)
        if disk_trouble(error):
            raise
        return {"export_note": f"No export of the rows as they came: {error}"}
    return {"export": counts} if counts else {}


@contextmanager
def deciding(task: FilterTask) -> Iterator[Decisions]:
    """The decisions of a run by its settings and its review, before anything is written. Every check may raise
    UserError."""
    with scored(task) as (table, signal, scores, reviewed):
        config = task.options
        rule = rules.get(config.rule)
        settings = {key: getattr(config, key) for key in rule.settings}
        decisions = make_decisions(table, scores, signal, rule, settings, reviewed)
        yield _with_unread(decisions, task)


@contextmanager
def scored(task: FilterTask) -> Iterator[tuple[Table, signals.Signal, rules.Scores, NDArray[np.int8]]]:
    """The joined table of a run, its signal, the scores, and the review. A probe that a person drops is one no
    longer."""
    paths, options = task.paths, task.options
    words = review_file.read(paths.folder)
    signal = signals.chosen(options.signal, options.combine)
    text_columns.prepare(paths, [name for name in text_columns.COLUMNS if name in signal.needs], task.nodes)
    with joined(paths.noisy_data, paths.signals(""), [*signal.needs, NOISE]) as table:
        reviewed = review.rows(table, words, paths)
        probe = read_probes(paths.probes, table, reviewed != -1)
        said = add_foretold(paths, table, signal.foretold, probe, task.nodes)
        yield replace(table, note=said), signal, make_scores(table, signal, probe), reviewed


def make_scores(table: Table, signal: signals.Signal, probe: NDArray[np.bool_] | None = None) -> rules.Scores:
    """The scores and sources that a rule sees; labels cannot steer it. Raises UserError where the signal is missing."""
    if lacking := [need for need in signal.needs if need not in table.numbers]:
        ways = {column: stored.lacking for stored in signal.stored for column in stored.columns}
        raise UserError(f"filter.signal={signal.name} needs {ways.get(lacking[0], f'the column {lacking[0]}')}")
    expression = signal.expression if signal.fit is None else signal.fit(table.sample.select(signal.needs))
    assert expression is not None
    score = table.columns.compute(expression.fill_null(float("nan")), signal.needs, np.float64)
    if np.isinf(score).any():
        raise UserError(
            f"filter.signal={signal.name} is infinite for {int(np.isinf(score).sum())} examples: take another"
        )
    if np.isnan(score).all():
        if (table.columns.read("num_tokens") > 0).any():
            raise UserError(f"filter.signal={signal.name} has no value for any example: take another")
        raise UserError("no noisy example has a label token: nothing can be scored; raise data.max_length")
    return rules.Scores(score, table.columns.read("source"), table.sources, table.id_order, probe)


def make_decisions(
    table: Table,
    scores: rules.Scores,
    signal: signals.Signal,
    rule: rules.Rule,
    settings: dict[str, Any],
    reviewed: NDArray[np.int8],
) -> Decisions:
    """The rulings of the rule and the review. Raises UserError where nothing would be left to learn from."""
    decisions = Decisions(table, scores, rules.judge(scores, signal.name, rule, settings), reviewed)
    if not _some_left(decisions):
        raise UserError(
            f"filter.rule={rule.name} ({_written(settings)}) drops every example that has a score: "
            "nothing would be left to refit; drop less"
        )
    return decisions


def _with_unread(decisions: Decisions, task: FilterTask) -> Decisions:
    """The decisions with what is known of rows that were not scored to their end. UserError where no other is kept."""
    if not task.paths.unread.exists():
        return decisions
    unread = np.zeros(decisions.table.count, dtype=np.bool_)
    unread[decisions.table.find(scan(task.paths.unread).collect()["id"])] = True
    marked = replace(decisions, unread=unread, keep_unread=task.options.too_long == "keep")
    if not _some_left(marked):
        raise UserError(
            "filter.too_long: the answers of every row that is kept go on behind data.max_length, where nothing was "
            "scored: raise data.max_length, or set filter.too_long=keep"
        )
    return marked


def _some_left(decisions: Decisions) -> bool:
    """Whether a refit would have something to learn: a kept row that has a score and is no probe."""
    scores = decisions.scores
    left = ~decisions.drop & ~decisions.apart & ~np.isnan(scores.score)
    return bool((left if scores.probe is None else left & ~scores.probe).any())


def summarise(decisions: Decisions, task: FilterTask) -> Summary:
    """The content of summary.json."""
    config = task.options
    signal, rule = signals.chosen(config.signal, config.combine), rules.get(config.rule)
    table, scores, ruling, drop = decisions.table, decisions.scores, decisions.ruling, decisions.drop
    label, dropped, cut = table.columns.read("label"), int(drop.sum()), ruling.cut(scores)
    counted = np.ones(table.count, dtype=np.bool_) if scores.probe is None else ~scores.probe
    unscored = np.isnan(scores.score) & counted
    summary: Summary = {
        "signal": signal.name,
        "signal_doc": signal.doc,
        "unit": signal.unit,
        "axis": signal.axis or f"{signal.name} ({signal.unit})",
        "rule": {"name": rule.name} | {key: getattr(config, key) for key in rule.settings},
        "filter": asdict(config),
        "kept": int(counted.sum()) - dropped,
        "dropped": dropped,
        "unscored": int(unscored.sum()),
        "by_source": _counts(np.where(counted, scores.source, -1), table.sources, drop),
        "by_label": _counts(np.where(counted, label, -1), table.labels, drop) or None,
        "quality": quality.measure(decisions, label),
        "threshold": cut,
        # otherwise the threshold is the lowest score that was dropped
        "threshold_is_dropped": ruling.threshold is None,
        "threshold_line": threshold_line(signal, cut, table.sample),
    }
    if valueless := int((unscored & (table.columns.read("num_tokens") > 0)).sum()):
        summary["valueless"] = valueless  # those without a score that have label tokens
    if scores.probe is not None:
        summary["probes"] = int(scores.probe.sum())
    if estimate := scores.estimate:
        summary["estimate"] = estimate.told(cut, int(ruling.drop.sum()))
    if table.note:
        summary["signal_note"] = table.note
    if table.left_out:
        summary["quality_note"] = f"Signals were left out of the quality: {'; '.join(table.left_out)}"
    if noise := quality.noise(table, signal, scores.score[drop], cut):
        summary["noise"] = noise
    if ruling.note:
        summary["note"] = ruling.note + _advice(ruling, rule, signal, task)
    if too_long := _too_long(decisions, counted, task):
        summary["too_long"] = too_long
    if decisions.review.any():
        summary["review"] = {
            "kept": int((decisions.review == 1).sum()),
            "dropped": int((decisions.review == -1).sum()),
            "changed": int((drop != ruling.drop).sum()),
        }
    return summary


def _too_long(decisions: Decisions, counted: NDArray[np.bool_], task: FilterTask) -> dict[str, int]:
    """The entry of the summary on rows that were not scored to their end; empty without any."""
    if decisions.unread is not None:
        kept = decisions.unread & ~decisions.drop & ~decisions.apart & counted
        return {"apart": int(decisions.apart.sum()), "kept": int(kept.sum())}
    scoring = read_manifest(task.paths.signals("before"))
    return {} if "unread" in scoring or not scoring.get("cut") else {"unknown": scoring["cut"]}  # an older one


def _advice(ruling: rules.Ruling, rule: rules.Rule, signal: signals.Signal, task: FilterTask) -> str:
    """A note for people on the ruling of an automatic rule; empty for other rules."""
    if not rule.automatic:
        return ""
    if ruling.threshold is None:
        return PROBES_HELP if task.rule_is_auto else ""
    return KINDS_NOT_HARM if "cluster" in signal.needs else ""


def _counts(codes: NDArray[Any], names: list[str], drop: NDArray[np.bool_]) -> dict[str, Counts]:
    """{NAME: {"kept", "dropped"}} by the position of the name. Rows without a name (-1) and probes are not counted."""
    named = codes >= 0
    kept, dropped = (np.bincount(codes[named & chosen], minlength=len(names)) for chosen in (~drop, drop))
    return {name: {"kept": int(kept[i]), "dropped": int(dropped[i])} for i, name in enumerate(names)}


def _written(settings: dict[str, Any]) -> str:
    return ", ".join(f"filter.{key}={value}" for key, value in settings.items())
