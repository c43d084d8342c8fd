"""The card of a run: one JSON value that tells what was made, from what, by which rule, and how well.

card.json holds for programs what report.html shows to people; both are built from `make_card`. What a run does not
have is null in the card, and a sentence in `missing` names it.
"""

import shlex
from pathlib import Path
from typing import Any, TypedDict

from forgetfilter.errors import plain_label
from forgetfilter.files import write_json
from forgetfilter.report.task import Reported
from forgetfilter.report.verdict import verdicts
from forgetfilter.storage import sums
from forgetfilter.storage.formats import Decision, Measured, Metrics, RefitRows, StageTime, Summary
from forgetfilter.storage.results import (
    MODELS,
    read_errors,
    read_headlines,
    read_instruments,
    read_metrics,
    read_optional,
    read_scalars,
    read_summary,
    read_time,
    scorings,
)
from forgetfilter.storage.run_folder import versions

KEPT = "filter/kept.jsonl"
HASHED = (
    "data/noisy.jsonl",
    "data/safe.jsonl",
    KEPT,
    "filter/dropped.jsonl",
    "filter/decisions.parquet",
    "review.csv",
)


class Judge(TypedDict):
    """eval/judge.json: how far the judge agrees with people's labels."""

    judge: str
    metrics: dict[str, Measured]


class Evaluated(TypedDict):
    """What every card tells, and the whole card.json of an evaluation alone."""

    name: str
    project: dict[str, str]
    versions: dict[str, str]
    config: dict[str, Any]
    """The resolved configuration as a JSON value."""
    metrics: Metrics
    errors: list[str]
    instruments: dict[str, str]
    judge: Judge | None
    time: dict[str, StageTime]


class Card(Decision, Evaluated):
    """card.json: the decision, what it was made from, and what was measured of its outcome."""

    hashes: dict[str, str]
    """The SHA-256 of files, by their path below the run folder."""
    manifests: dict[str, dict[str, Any] | None]
    """The manifest of each scoring, without its lists and tables."""
    data: dict[str, Any] | None
    """data/summary.json: see mix/stage.py."""
    refit: RefitRows | None
    stale: dict[str, str] | None
    missing: list[str]
    verdict: list[dict[str, str]]


def write_card(folder: Path, card: Card) -> Path:
    """Writes card.json into the run folder."""
    path = folder / "card.json"
    write_json(path, card)
    return path


def make_evaluated(reported: Reported, config: dict[str, Any]) -> Evaluated:
    """What is known without a decision."""
    folder, made = reported.paths.folder, versions()
    return {
        "name": config["name"],
        "project": {"name": "forgetfilter", "version": made["forgetfilter"], "commit": made["commit"]},
        "versions": made,
        "config": config,
        "metrics": read_metrics(folder, "evaluation" in reported.stale),
        "errors": read_errors(folder),
        "instruments": read_instruments(folder),
        "judge": read_optional(folder / "eval" / "judge.json"),
        "time": read_time(folder),
    }


def make_card(reported: Reported) -> Card:
    """The card, from the run's files. UserError before the filter stage has run."""
    paths, folder, signals = reported.paths, reported.paths.folder, reported.paths.signals("")
    summary = read_summary(folder)
    # `forgetfilter filter RUN filter.x=...` decides again with settings that the run's config does not hold
    config = reported.config | {"filter": summary.get("filter") or reported.config["filter"]}
    evaluated = make_evaluated(reported, config)
    card: Card = {
        **evaluated,
        "hashes": {name: sums.sha256(folder, name) for name in HASHED if (folder / name).exists()},
        "manifests": {name: read_scalars(paths.signals(name) / "manifest.json") for name in scorings(signals)},
        "data": read_optional(folder / "data" / "summary.json"),
        **_decision(summary),
        "refit": None if "refit" in reported.stale else read_optional(paths.refit_counts),
        "stale": outdated(folder, reported.stale),
        "missing": [],
        "verdict": verdicts(evaluated["metrics"], read_headlines(folder)),
    }
    card["missing"] = [*_edited(folder), *_missing(card, "evaluation" in reported.stale)]
    return card


def _edited(folder: Path) -> list[str]:
    """A sentence where a person has changed what the filter kept."""
    if KEPT not in sums.damaged(folder, "filter") or not (folder / KEPT).exists():
        return []
    return [f"{KEPT} was edited after the decision: what M* learned is not what the filter kept, as counted here."]


def _decision(summary: Summary) -> Decision:
    """The part of the card that comes from summary.json. What the summary lacks is null."""
    return {
        "signal": summary["signal"],
        "signal_doc": summary.get("signal_doc"),
        "unit": summary.get("unit"),
        "axis": summary.get("axis"),
        "rule": summary["rule"],
        "threshold": summary.get("threshold"),
        "threshold_is_dropped": summary.get("threshold_is_dropped"),
        "threshold_line": summary.get("threshold_line"),
        "kept": summary["kept"],
        "dropped": summary["dropped"],
        "unscored": summary.get("unscored"),
        "valueless": summary.get("valueless"),
        "probes": summary.get("probes"),
        "noise": summary.get("noise"),
        "by_source": summary["by_source"],
        "by_label": summary.get("by_label"),
        "quality": summary.get("quality"),
        "quality_note": summary.get("quality_note"),
        "note": summary.get("note"),
        "review": summary.get("review"),
        "too_long": summary.get("too_long"),
    }


def outdated(folder: Path, stale: tuple[str, ...]) -> dict[str, str] | None:
    """What of the run belongs to an earlier decision: a sentence that says so, and the command that mends it."""
    if not stale:
        return None
    quoted, names = shlex.quote(str(folder)), {"refit": "the refit", "evaluation": "the evaluation of the refit"}
    commands = {"refit": f"forgetfilter train {quoted} refit", "evaluation": f"forgetfilter eval {quoted}"}
    told, several = " and ".join(names[name] for name in stale), bool(stale[1:])
    what = f"{told} {'belong' if several else 'belongs'} to an earlier decision or to other settings and "
    what += (
        "are left out here. This brings them up to date:" if several else "is left out here. This brings it up to date:"
    )
    return {"what": what[0].upper() + what[1:], "mend": " && ".join(commands[name] for name in stale)}


def unscored(summary: Decision) -> list[str]:
    """How many rows were kept without a score, and what they lack, from summary.json or the card."""
    valueless = summary.get("valueless") or 0
    counts = {"label tokens": (summary.get("unscored") or 0) - valueless, f"value of {summary['signal']}": valueless}
    return [
        f"{count:,} {'row was' if count == 1 else 'rows were'} kept without a score (no {lacking})"
        for lacking, count in counts.items()
        if count
    ]


def probes(summary: Decision) -> list[str]:
    """How many probes there are, from summary.json or the card. kept.jsonl holds them, but the counts do not."""
    count = summary.get("probes")
    return [f"The counts leave out {count:,} probes, which are never dropped"] if count else []


def too_long(summary: Decision) -> list[str]:
    """How many kept rows were not scored to their end, from summary.json or the card, and where they are."""
    found = summary.get("too_long") or {}
    behind = "go on behind data.max_length, where nothing was learned or scored"
    said = {
        "apart": f"of the kept rows are in filter/too_long.jsonl in the place of kept.jsonl: their answers {behind}",
        "kept": f"of the kept rows have answers that {behind} (filter.too_long=apart leaves them out)",
        "unknown": "rows were cut at data.max_length, and their scoring is too old to tell which of them hold answers "
        "that nothing scored: delete signals/ and score again",
    }
    return [f"{found[name]:,} {words}" for name, words in said.items() if found.get(name)]


def trained_on(refit: RefitRows | None, dropped: int) -> list[str]:
    """What M* was trained on, from train/refit/data.json; empty for a run of an older version, which lacks the file.
    Where the filter `dropped` nothing, that is said, since no difference from M1 is then its doing."""
    if not refit:
        return []
    kept, trusted, probes = (f"{count:,}" for count in (refit["kept"], refit["trusted"], refit["left_out"]["probes"]))
    how = {
        "kept": f"{kept} kept rows alone",
        "kept_and_trusted": f"{kept} kept rows and {trusted} rows of the safe set, mixed",
        "kept_then_trusted": f"{kept} kept rows and then on {trusted} rows of the safe set",
    }
    without = f", without the {probes} probes" if refit["left_out"]["probes"] else ""
    told = [f"M* was trained on {how[refit['data']]}{without}"]
    alone = "No row was dropped: where M* differs from M1, this is by the rows of the safe set, and not by the filter"
    return [*told, alone] if refit["trusted"] and not dropped else told


UNLIKE = (
    "The probes score clearly higher than the rows do, so they are not like the good ones among them: how many rows "
    "are unsafe cannot be told, and a cut by these probes may be too high to find them"
)


def estimate(summary: Summary) -> list[str]:
    """How many unsafe rows the probes lead one to expect, and how many of them were kept, from summary.json."""
    if not (known := summary.get("estimate")):
        return []
    if not known["unsafe"][2]:
        return [UNLIKE]
    rows = summary["kept"] + summary["dropped"] - (summary.get("unscored") or 0)
    said = f"An estimated {_interval(known['unsafe'])} of {rows:,} scored rows are unsafe"
    return [f"{said}, and {_interval(known['left'])} of them were kept" if known.get("left") else said]


def _interval(given: list[float]) -> str:
    value, low, high = (f"{number:,.0f}" for number in given)
    return f"{value} ({low} to {high})"


def _missing(card: Card, stale_evaluation: bool) -> list[str]:
    """A sentence for each part of a full run that this one lacks."""
    expected = MODELS[:-1] if stale_evaluation else MODELS
    absent = {
        "No row has a label, so how well the filter finds unsafe rows cannot be measured here.": not card["quality"],
        "No model was evaluated yet, so the safety before and after is not known.": not card["metrics"],
        "The noisy data was not described: data/summary.json is missing.": card["data"] is None,
        "The manifests of the scorings are missing, so the scored models cannot be named.": not all(
            card["manifests"].values()
        ),
    }
    sentences = [sentence for sentence, holds in absent.items() if holds]
    sentences += [f"{note}." for note in [card["quality_note"]] if note]
    sentences += _not_learned(card["data"])
    for suite, metrics in card["metrics"].items():
        models = {model for models in metrics.values() for model in models}
        if lacking := [model for model in expected if model not in models]:
            sentences.append(f"The {suite} suite was not run on: {', '.join(lacking)}.")
    return sentences


def _not_learned(data: dict[str, Any] | None) -> list[str]:
    """What of the given rows is not learned, or is learned in another form, from data/summary.json."""
    found = []
    data = data or {}
    for name, rows in data.get("taken_out", {}).items():
        found.append(f"{rows} rows were left out of the noisy data, because they are in the {name} set too.")
    for source, counts in data.get("fields", {}).items():
        for what, fields in (
            ("not learned", counts.get("left_out")),
            ("learned as text", counts.get("rewritten")),
            ("taken from the rows themselves", counts.get("claims")),
        ):
            if fields:
                most = sorted(fields.items(), key=lambda item: (-item[1], item[0]))[:12]
                names = ", ".join(f"{plain_label(name)} ({rows} rows)" for name, rows in most)
                found.append(f"Fields of {plain_label(source)} that were {what}: {names}.")
    return found
