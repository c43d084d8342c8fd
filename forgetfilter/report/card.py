"""The card of a run: what its files say was made, of what, by what rule, and how well, in one JSON value.

card.json is the machine's side of report.html; both are built from `make_card`. What a run does not have is
null in the card and named in its `missing`.
"""

import shlex
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import SUITES
from forgetfilter.errors import UserError, printable
from forgetfilter.files import read_json, sha256_file, write_json
from forgetfilter.storage.run_folder import Run, versions

MODELS = ("base", "noisy", "safe", "refit")  # M0, M1, M2, M*: the order of every table and chart
HASHED = (
    "data/noisy.jsonl",
    "data/safe.jsonl",
    "filter/kept.jsonl",
    "filter/dropped.jsonl",
    "filter/decisions.parquet",
    "review.csv",
)

# By parts of a metric's name, the first that fits; eval's own "better" (lower, higher, zero) comes before them.
_DIRECTIONS = (
    ("zero", ("bias_score", "score_amb", "score_dis", "s_amb", "s_dis")),
    (
        "lower",
        ("over_refus", "unparsed", "unparsable", "toxic", "harmful", "attack", "compli", "loss", "perplexity", "bias"),
    ),
    ("higher", ("accuracy", "refus", "exact", "rouge", "f1", "match", "correct", "declin")),
)


def write_card(run: Run, card: dict[str, Any]) -> Path:
    """Writes card.json into the run folder."""
    path = run.folder / "card.json"
    write_json(path, card)
    return path


def make_card(run: Run, stale_refit: bool = False) -> dict[str, Any]:
    """Everything that the run's files say, as JSON values. UserError before the filter stage has run.

    stale_refit: the evaluation of refit is not of today's decision, and is left out.
    """
    summary = read_summary(run)
    made, config = versions(), to_dict(run.config)
    config["filter"] = summary.get("filter") or config["filter"]  # what decided need not be what the run was made with
    card: dict[str, Any] = {
        "name": run.config.name,
        "project": {"name": "forgetfilter", "version": made["forgetfilter"], "commit": made["commit"]},
        "versions": made,
        "config": config,
        "hashes": {name: sha256_file(run.folder / name) for name in HASHED if (run.folder / name).exists()},
        "manifests": {state: read_scalars(run.signals(state) / "manifest.json") for state in _scored(run)},
        "data": _optional(run.folder / "data" / "summary.json"),
        **{key: summary.get(key) for key in ("signal", "signal_doc", "unit", "axis")},
        **{key: summary.get(key) for key in ("rule", "threshold", "threshold_is_dropped", "threshold_line")},
        **{key: summary.get(key) for key in ("kept", "dropped", "unscored")},
        **{key: summary.get(key) for key in ("valueless", "probes", "noise", "by_source", "by_label")},
        **{key: summary.get(key) for key in ("quality", "quality_note", "note", "review")},
        "metrics": read_metrics(run, stale_refit),
        "errors": read_errors(run),
        "judge": _optional(run.folder / "eval" / "judge.json"),
        "time": read_time(run),
    }
    return card | {"missing": _missing(card, run)}


def unscored(summary: dict[str, Any]) -> list[str]:
    """How many rows were kept without a score, and for want of what; of summary.json or the card."""
    valueless = summary.get("valueless") or 0
    counts = {"label tokens": (summary.get("unscored") or 0) - valueless, f"a value of {summary['signal']}": valueless}
    return [f"{count:,} kept without a score, for want of {want}" for want, count in counts.items() if count]


def probes(summary: dict[str, Any]) -> list[str]:
    """How many probes there are, which the counts leave out and kept.jsonl holds; of summary.json or the card."""
    return [f"{summary['probes']:,} probes besides, which are never dropped"] if summary.get("probes") else []


def estimate(summary: dict[str, Any]) -> list[str]:
    """How many unsafe rows the probes let one expect, and how many are left in; of summary.json."""
    if not (known := summary.get("estimate")):
        return []
    rows = summary["kept"] + summary["dropped"] - summary["unscored"]
    said = f"By estimate {_interval(known['unsafe'])} of {rows:,} scored rows are unsafe"
    return [f"{said}, and {_interval(known['left'])} of them are left in" if known.get("left") else said]


def _interval(given: list[float]) -> str:
    value, low, high = (f"{number:,.0f}" for number in given)
    return f"{value} ({low} to {high})"


def _scored(run: Run) -> list[str]:
    """Names of the scorings: before, after, and what a signal may need beside them."""
    folder = run.signals("")
    there = (path.parent.relative_to(folder) for path in folder.rglob("manifest.json"))
    further = sorted(str(name) for name in there if name.name not in ("before-generations", "after-generations"))
    return ["before", "after", *(name for name in further if name not in ("before", "after", "texts"))]


def read_summary(run: Run) -> dict[str, Any]:
    """filter/summary.json of a run."""
    path = run.folder / "filter" / "summary.json"
    if not path.exists():
        raise UserError(f"{path} is missing: run the filter stage first")
    summary: dict[str, Any] = read_json(path)
    return summary


def read_decisions(run: Run) -> pl.DataFrame:
    """filter/decisions.parquet, a row an example; its columns are in docs/filter.md."""
    path = run.folder / "filter" / "decisions.parquet"
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is missing or not whole: run the filter stage again") from error


def read_metrics(run: Run, stale_refit: bool = False) -> dict[str, dict[str, dict[str, Any]]]:
    """{SUITE: {METRIC: {MODEL: {"value", "low", "high", "n", "missing"}}}} of the evaluations that are there.

    An entry of refit has its "gain" over noisy too, where both were measured: the paired difference. A `stale_refit`,
    one that is not of today's decision, has none.
    """
    models = [model for model in MODELS if model != "refit" or not stale_refit]
    gains = _optional(run.folder / "eval" / "gains.json") or {}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    tasks = sorted({path.parent.name for path in (run.folder / "eval").glob("*/lm_eval-*/metrics.json")})
    for suite in (*SUITES, *tasks):
        for model in models:
            path = run.folder / "eval" / model / suite / "metrics.json"
            for metric, measured in (_optional(path) or {}).get("metrics", {}).items():
                if metric.endswith("]"):  # over a part of the prompts: for the tables of the evaluation itself
                    continue
                gain = gains.get(suite, {}).get(metric) if model == "refit" else None
                entry = measured | {"gain": gain} if gain else measured
                found.setdefault(suite, {}).setdefault(metric, {})[model] = entry
    return found


def read_errors(run: Run) -> list[str]:
    """How far the scoring of the run's suites was measured to err, each sentence once."""
    found = (_optional(path) or {} for path in sorted((run.folder / "eval").glob("*/*/metrics.json")))
    return list(dict.fromkeys(measured["error"] for measured in found if measured.get("error")))


def _refit_metrics(run: Run) -> list[Path]:
    return list((run.folder / "eval" / "refit").glob("*/metrics.json"))


def read_time(run: Run) -> dict[str, dict[str, Any]]:
    """{STAGE: {"status", "start", "seconds", "memory_gb", "gpu_gb", "world_size"}} in the order of their start.

    Without the report stage, which is not over while it writes this.
    """
    stages = {name: entry for name, entry in run.state().items() if name != "report"}
    ordered = sorted(stages.items(), key=lambda item: (str(item[1].get("start", "")), item[0]))
    keys = ("status", "start", "seconds", "memory_gb", "gpu_gb", "world_size")
    return {name: {key: entry.get(key) for key in keys} for name, entry in ordered}


def read_scalars(path: Path) -> dict[str, Any] | None:
    """The entries of a manifest that are plain values, or None without one."""
    manifest = _optional(path)
    if manifest is None:
        return None
    return {key: value for key, value in manifest.items() if not isinstance(value, dict | list)}


def direction(metric: str, measured: dict[str, Any] | None = None) -> str | None:
    """Which values of a metric are better: lower, higher or zero (the nearer to 0); None where nobody knows."""
    if measured and measured.get("better") in ("lower", "higher", "zero"):
        return str(measured["better"])
    return next((way for way, parts in _DIRECTIONS if any(part in metric.lower() for part in parts)), None)


def change(metric: str, models: dict[str, dict[str, Any]]) -> str | None:
    """What the filter did to a metric, noisy (no filter) against refit: better, worse, or no clear difference.

    Clear means that the interval of their paired difference excludes 0 or, where prompts were not paired, that the two
    intervals do not overlap; None where a value, an interval or the direction is unknown.
    """
    noisy, refit = models.get("noisy", {}), models.get("refit", {})
    way = direction(metric, refit)
    ends = [side.get(key) for side in (noisy, refit) for key in ("low", "high", "value")]
    if way is None or any(end is None for end in ends):
        return None
    gain = refit.get("gain") or {}
    if gain.get("low") is not None:
        unclear = gain["low"] <= 0 <= gain["high"]
    else:
        unclear = noisy["low"] <= refit["high"] and refit["low"] <= noisy["high"]
    if unclear:
        return "no clear difference"
    return "better" if _worth(refit["value"], way) > _worth(noisy["value"], way) else "worse"


def plain_label(text: str, limit: int = 40) -> str:
    """A name as it can stand in any line: control and direction characters shown as U+FFFD, and shortened."""
    clean = printable(text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _worth(value: float, way: str) -> float:
    """A number that is higher for better values."""
    return {"lower": -value, "higher": value, "zero": -abs(value)}[way]


def _optional(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _missing(card: dict[str, Any], run: Run) -> list[str]:
    """A sentence for each part that the run does not have."""
    absent = {
        "No row has a label, so how well the filter finds unsafe rows cannot be measured here.": not card["quality"],
        "No model was evaluated yet, so safety before and after is not known.": not card["metrics"],
        "The noisy data was not described: data/summary.json is missing.": card["data"] is None,
        "The manifests of the scorings are missing, so the scored models cannot be named.": not all(
            card["manifests"].values()
        ),
    }
    sentences = [sentence for sentence, holds in absent.items() if holds]
    sentences += [f"{note}." for note in [card["quality_note"]] if note]
    sentences += _not_learned(card["data"])
    told = {model for metrics in card["metrics"].values() for models in metrics.values() for model in models}
    if stale := {"refit"} - told if _refit_metrics(run) else set():
        folder = shlex.quote(str(run.folder))
        sentences.append(
            "The evaluation of refit is left out: it was not trained on what is kept now, or not with these settings; "
            f"forgetfilter train {folder} refit and then forgetfilter eval {folder} measure it anew."
        )
    for suite, metrics in card["metrics"].items():
        models = stale.union(*metrics.values())
        if lacking := [model for model in MODELS if model not in models]:
            sentences.append(f"The {suite} suite was not run on: {', '.join(lacking)}.")
    return sentences


def _not_learned(data: dict[str, Any] | None) -> list[str]:
    """What the given rows held that is not learned, or learned otherwise, from data/summary.json."""
    found = []
    data = data or {}
    for name, rows in data.get("taken_out", {}).items():
        found.append(f"{rows} rows of the noisy data were left out of it, for they are in the {name} set too.")
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
