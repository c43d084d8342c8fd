"""The comparison of two models on the same prompts: paired differences with 95% intervals, and which prompts flipped.

Each side is RUN, RUN:MODEL, or several runs (one for each seed) separated by commas; within one run it is a MODEL. The
comparison reads stored scores and needs neither model nor GPU. It writes RUN_A/eval/comparisons/NAME/comparison.json,
.md, .tex and changes.parquet.
"""

import itertools
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from forgetfilter.errors import UserError, nearest
from forgetfilter.files import atomic_path, write_json
from forgetfilter.process.progress import console
from forgetfilter.storage import scores, sums
from forgetfilter.storage.shards import scan
from forgetfilter.storage.stage import Comparison

from . import side_by_side
from .paired import Difference, aligned, measured_in_all, paired, read_scores
from .tables import Sheet, interval, terminal, write

SHOWN = 5  # the most flipped prompts that the terminal shows for each suite and score
COLUMNS = ("suite", "metric", "models", "A", "B", "B - A", "95% interval", "n", "missing", "verdict")
NOTE = (
    "The 95% intervals are over paired prompts. Missing counts the prompts that could not be scored for one of "
    "the two. Each interval holds by itself: of twenty metrics that did not change, one is expected to exclude 0."
)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a model in one run, or in several runs that differ by their seed."""

    runs: tuple[Path, ...]
    model: str

    def folder(self, run: Path, suite: str) -> Path:
        return run / "eval" / self.model / suite


def main(given: tuple[str, str], within: str | None) -> Path:
    """Compares, prints and stores the result; returns the folder of the files."""
    pairs = sides(*given, Path(within) if within else None)
    found, changes = [], []
    for first, second in pairs:
        differences, changed = compare(first, second)
        found += differences
        changes.append(changed)
    first, second = pairs[0]
    models = (f" ({first.model})", f" ({second.model})") if len(pairs) == 1 else ("", "")
    title = f"A: {_names(first.runs)}{models[0]}, B: {_names(second.runs)}{models[1]}"
    sheet = Sheet(title, COLUMNS, [_row(one) for one in found], 3, NOTE)
    folder = first.runs[0] / "eval" / "comparisons" / _folder_name(pairs)
    changed = pl.concat(changes)
    with atomic_path(folder / "changes.parquet") as temporary:
        changed.write_parquet(temporary)
    write(sheet, folder, "comparison")
    runs = {"a": [str(run) for run in first.runs], "b": [str(run) for run in second.runs]}
    differences_written = [asdict(one) | {"verdict": one.verdict} for one in found]
    write_json(folder / "comparison.json", {"runs": runs, "differences": differences_written})
    console.print(terminal(brief(title, found, with_models=len(pairs) > 1)))
    if any(one.metric.endswith("]") for one in found):
        console.print(f"compare: {folder / 'comparison.md'} has the metrics of each category too")
    console.print(
        terminal(flips(changed)) if changed["flipped"].any() else "compare: no prompt's score crossed one half"
    )
    return folder


def sides(first: str, second: str, within: Path | None = None) -> list[tuple[Side, Side]]:
    """The pairs to compare; without a MODEL, every model that both have.

    UserError for a run or model that is missing, or whose evaluation is damaged.
    """
    (a_runs, a_model), (b_runs, b_model) = (((within,), name) if within else _parsed(name) for name in (first, second))
    if len(a_runs) != len(b_runs):
        raise UserError(
            f"--compare: {first} has {len(a_runs)} runs and {second} has {len(b_runs)}: give the same seeds of both"
        )
    for run in {*a_runs, *b_runs}:
        if not (run / "config.yaml").exists():
            raise UserError(f"--compare: {run} is no run folder: it has no config.yaml")
        sums.check(run, "eval")
    if a_model or b_model:
        pairs = [(a_model or b_model, b_model or a_model)]
    else:
        has = [_evaluated(run) for run in (*a_runs, *b_runs)]
        pairs = [(model, model) for model in has[0] if all(model in other for other in has)]
        if not pairs:
            raise UserError(f"--compare: no model was evaluated in both {first} and {second}: run forgetfilter eval")
    chosen = [(Side(a_runs, a), Side(b_runs, b)) for a, b in pairs]
    for side in itertools.chain(*chosen):
        for run in side.runs:
            if side.model not in (known := _evaluated(run)):
                hint = nearest(side.model, known) if known else ""
                raise UserError(f"{run} has no evaluation of {side.model!r}{hint}; run forgetfilter eval on it first")
    return chosen


def compare(first: Side, second: Side) -> tuple[list[Difference], pl.DataFrame]:
    """The differences in every suite that all runs have, and the scores that changed."""
    has = [
        {path.parent.name for path in (run / "eval" / side.model).glob("*/metrics.json")}
        for side, run in _all(first, second)
    ]
    if not (shared := measured_in_all(has)):
        raise UserError(
            f"{_names(first.runs)} ({first.model}) and {_names(second.runs)} ({second.model}) have no evaluated suite "
            "in common: run forgetfilter eval on both with the same eval.suites"
        )
    if left := sorted(set().union(*has) - set(shared)):
        console.print(f"compare: leaves out {', '.join(left)}, on which not all runs were evaluated")
    found, changes = [], []
    for suite in shared:
        tables = aligned([read_scores(side.folder(run, suite)) for side, run in _all(first, second)], suite)
        split = len(first.runs)
        found += paired(suite, (first.model, second.model), tables[:split], tables[split:])
        for a_run, b_run, a, b in zip(first.runs, second.runs, tables[:split], tables[split:]):
            known = _prompts(first.folder(a_run, suite))
            about = {"suite": suite, "a": f"{a_run.name}:{first.model}", "b": f"{b_run.name}:{second.model}"}
            changes.append(_changes(a, b, about).join(known, on="id", how="left", maintain_order="left"))
    return found, pl.concat(changes)


def brief(title: str, found: list[Difference], with_models: bool) -> Sheet:
    """The differences for a terminal of 80 columns.

    Suites are headings, intervals stand below values, and metrics over a part of the prompts are left out.
    """
    rows = []
    for heading, group in itertools.groupby(found, lambda one: (one.suite, *([_models(one)] if with_models else []))):
        rows.append((", ".join(heading), *[""] * 5))
        for one in group:
            if not one.metric.endswith("]"):
                difference = None if one.value is None else (one.value, one.low, one.high)
                ends = map(_stacked, (one.a, one.b, difference))
                rows.append(("  " + one.metric.replace("_", " "), *ends, f"{one.n}\n({one.missing})", one.verdict))
    return Sheet(title, ("metric", "A", "B", "B - A", "n\n(missing)", "verdict"), rows, 1, NOTE)


def flips(changes: pl.DataFrame) -> Sheet:
    """How many prompts crossed one half in each score that lies in [0, 1], and the ids of the first of them."""
    rows, pairs = [], len(changes.select("a", "b").unique()) > 1
    for (suite, score, a, b), group in changes.filter("flipped").group_by(
        "suite", "score", "a", "b", maintain_order=True
    ):
        up = group.filter(pl.col("b_value") > pl.col("a_value"))
        some = ", ".join(identity[:12] for identity in group["id"].head(SHOWN))
        more = ", ..." if len(group) > SHOWN else ""
        names = [suite, str(score).replace("_", " "), *([f"{a}, {b}"] if pairs else []), some + more]
        rows.append((*map(str, names), str(len(up)), str(len(group) - len(up))))
    columns = ("suite", "score", *(["A, B"] if pairs else []), "prompts (all in changes.parquet)", "up", "down")
    return Sheet("Flipped prompts", columns, rows, len(columns) - 2)


def _changes(a: pl.DataFrame, b: pl.DataFrame, about: dict[str, str]) -> pl.DataFrame:
    """One row for each score that differs: `suite, a, b, id, source, score, a_value, b_value, flipped`.

    Flipped scores come first, and within each part the largest change.
    """
    parts = []
    for name in scores.names(a):
        pair = a.select("id", "source", pl.lit(name).alias("score"), pl.col(name).cast(pl.Float64).alias("a_value"))
        pair = pair.with_columns(b[name].cast(pl.Float64).alias("b_value"))
        flips = scores.flipping(name, pl.concat([pair["a_value"], pair["b_value"]]))
        crossed = scores.flipped("a_value", "b_value") if flips else pl.lit(False)
        parts.append(pair.with_columns(crossed.alias("flipped")))
    texts = dict.fromkeys(("id", "source", "score"), pl.String)
    numbers = dict.fromkeys(("a_value", "b_value"), pl.Float64)
    empty = pl.DataFrame(schema={**texts, **numbers, "flipped": pl.Boolean})
    changed = pl.concat([empty, *parts]).filter(pl.col("a_value") != pl.col("b_value"))
    size = (pl.col("b_value") - pl.col("a_value")).abs()
    changed = changed.sort(pl.col("flipped"), size, "id", descending=[True, True, False], maintain_order=True)
    return changed.select(*(pl.lit(value).alias(name) for name, value in about.items()), pl.all())


def _prompts(folder: Path) -> pl.DataFrame:
    """`id, prompt` of the stored generations. No table that is shown holds the prompt's text."""
    path = folder / "generations.parquet"  # one row for each sample
    if not path.exists() or "prompt" not in scan(path).collect_schema():
        return pl.DataFrame(schema={"id": pl.String, "prompt": pl.String})
    return pl.read_parquet(path, columns=["id", "prompt"], glob=False).unique("id", keep="first")


def _parsed(given: str) -> tuple[tuple[Path, ...], str]:
    if ":" in given and not Path(given).is_dir():
        given, _, model = given.rpartition(":")
        return tuple(map(Path, given.split(","))), model
    return tuple(map(Path, given.split(","))) if not Path(given).is_dir() else (Path(given),), ""


def _evaluated(run: Path) -> list[str]:
    """The models with at least one suite measured."""
    return sorted({path.parents[1].name for path in (run / "eval").glob("*/*/metrics.json")})


def _all(first: Side, second: Side) -> list[tuple[Side, Path]]:
    return [(side, run) for side in (first, second) for run in side.runs]


def _row(one: Difference) -> tuple[str, ...]:
    entry = {"value": one.value, "low": one.low, "high": one.high}
    values = [f"{end[0]:.3f} ({end[1]:.3f} to {end[2]:.3f})" if end else "-" for end in (one.a, one.b)]
    return one.suite, one.metric, _models(one), *values, *interval(entry), str(one.n), str(one.missing), one.verdict


def _models(one: Difference) -> str:
    return one.models[0] if one.models[0] == one.models[1] else " to ".join(one.models)


def _stacked(measured: tuple[float, float | None, float | None] | None) -> str:
    """A value with its interval, where it has one, on the next line."""
    if not measured:
        return "-"
    value, low, high = measured
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f}\n{low:.2f}…{high:.2f}"


def _names(runs: tuple[Path, ...]) -> str:
    return ", ".join(run.name for run in runs)


def _folder_name(pairs: list[tuple[Side, Side]]) -> str:
    """The names of the runs and, where one was named, the models, in characters that any file system accepts."""
    parts = []
    for side in pairs[0]:
        model = f".{side.model}" if len(pairs) == 1 else ""
        parts.append("+".join(run.resolve().name for run in side.runs) + model)
    return re.sub(r"[^\w.+-]", "_", "-vs-".join(parts))[:200]


COMPARISON = Comparison(main, side_by_side.differences)
