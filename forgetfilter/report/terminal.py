"""The closing tables of a run for the terminal: what was kept, how well the filter did, safety, and time."""

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forgetfilter.errors import plain_label
from forgetfilter.report import card as cards
from forgetfilter.report.cost import stage_rates
from forgetfilter.report.sentences import evidence
from forgetfilter.report.verdict import direction, verdicts
from forgetfilter.storage.formats import FIGURES, Measured, Metrics, Quality, StageTime, Summary
from forgetfilter.storage.results import (
    MODELS,
    is_decided,
    read_errors,
    read_headlines,
    read_metrics,
    read_optional,
    read_summary,
    read_time,
)
from forgetfilter.storage.run_paths import RunPaths

ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0"}
_STYLES = {"bad": "bold red", "partly": "bold yellow", "good": "bold green", "unclear": "bold"}


def metric_title(suite: str, metric: str, better: str | None) -> str:
    """A metric by its suite, with the arrow of the better values where these are known."""
    return f"{suite}: {metric.replace('_', ' ')} {ARROWS.get(better or '', '')}".rstrip()


def closing_table(folder: Path, stale: tuple[str, ...] = ()) -> Group:
    """The tables of kept and dropped rows, of the filter's quality, of safety before and after, and of time.

    A table that the run has no figures for is left out, and so is what is `stale`.
    """
    tables: list[RenderableType] = []
    if found := verdicts(metrics := read_metrics(folder, "evaluation" in stale), read_headlines(folder)):
        tables.append(_verdicts(found, metrics))
    if is_decided(folder):
        tables.append(filter_table(summary := read_summary(folder)))
        refit = None if "refit" in stale else read_optional(RunPaths(folder).refit_counts)
        tables += [Padding(Text(f"{remark}."), (0, 2, 1, 2)) for remark in cards.trained_on(refit, summary["dropped"])]
    if metrics:
        tables.append(_safety(metrics))
        tables += [Padding(Text(f"{error}."), (0, 2, 1, 2)) for error in read_errors(folder)]
    if time := read_time(folder):
        tables.append(_time(time))
    return Group(*tables)


def _verdicts(found: list[dict[str, str]], metrics: Metrics) -> Table:
    table = _table("Verdict", ["suite", "outcome of the filter"], [])
    for one in found:
        words = Text(one["words"], style=_STYLES[one["outcome"]])
        words.append(f"\n{evidence(one, metrics[one['suite']][one['metric']])}", style="not bold default")
        table.add_row(_name(one["suite"]), words)
    return table


def filter_table(summary: Summary) -> Group:
    """A decision, from its summary.json: kept and dropped rows of each source, remarks, and quality with labels."""
    told = (cards.probes, cards.unscored, cards.too_long, cards.estimate)
    remarks = [f"{remark}." for tell in told for remark in tell(summary)]
    if not summary["dropped"] and not summary.get("note"):
        remarks.append("Nothing was dropped: the refit sees all of the noisy data.")
    if review := summary.get("review"):
        remarks.append(f"By hand a person kept {review['kept']:,} rows and dropped {review['dropped']:,}.")
    notes = (summary.get("note"), summary.get("export_note"), summary.get("quality_note"))
    remarks += [note for note in notes if note]
    tables: list[RenderableType] = [_kept(summary), *(Padding(Text(remark), (0, 2)) for remark in remarks)]
    if quality := summary.get("quality"):
        tables += [*([""] if remarks else []), _quality(quality)]
    return Group(*tables)


def _kept(summary: Summary) -> Table:
    table = _table(f"Filter: {summary['signal']}, {summary['rule']['name']}", ["source"], ["kept", "dropped"])
    for source, counts in summary["by_source"].items():
        table.add_row(_name(source), f"{counts['kept']:,}", f"{counts['dropped']:,}")
    table.add_section()
    table.add_row("all", f"{summary['kept']:,}", f"{summary['dropped']:,}")
    return table


def _quality(quality: Quality) -> Table:
    known = [key for key in FIGURES if quality.get(key) is not None]
    table = _table("Filter quality, on labels that the filter never saw", [], [key.replace("_", " ") for key in known])
    table.add_row(*(f"{quality[key]:.3f}" for key in known))
    return table


def _safety(metrics: Metrics) -> Table:
    there = {model for measured in metrics.values() for models in measured.values() for model in models}
    shown_models = [model for model in MODELS if model in there]
    title = "Safety and task, 95% intervals (↓ lower, ↑ higher, →0 nearer 0 is better)"
    table = _table(title, ["metric"], [*shown_models, "n (missing)"])
    for suite, measured in metrics.items():
        table.add_row(Text(_name(suite).plain, style="bold"))
        for metric, models in measured.items():
            arrow = ARROWS.get(direction(metric, next(iter(models.values()))) or "", "")
            shown = (_with_interval(models.get(model)) for model in shown_models)
            n, lost = max(one["n"] for one in models.values()), max(one["missing"] for one in models.values())
            table.add_row(_name(f"  {metric.replace('_', ' ')} {arrow}".rstrip()), *shown, f"{n:,}\n({lost:,})")
        table.add_section()
    return table


def _with_interval(measured: Measured | None) -> str:
    """The value with its interval, if it has one, on the next line, so that four fit beside a name in 80 columns."""
    if not measured or measured.get("value") is None:
        return "–"
    if measured.get("low") is None or measured.get("high") is None:
        return f"{measured['value']:.3f}"
    return f"{measured['value']:.3f}\n{measured['low']:.2f}…{measured['high']:.2f}"


def _time(time: dict[str, StageTime]) -> Table:
    peaks = {"peak GB": [one["memory_gb"] for one in time.values()], "GPU GB": [one["gpu_gb"] for one in time.values()]}
    known = {name: values for name, values in peaks.items() if name == "peak GB" or any(values)}
    table = _table("Cost", ["stage", "status"], ["seconds", "tokens/s", *known])
    for place, (stage, entry) in enumerate(time.items()):
        own = (_peak([values[place]]) for values in known.values())
        table.add_row(stage, str(entry["status"]), f"{entry['seconds'] or 0:,.1f}", stage_rates(entry), *own)
    table.add_section()
    seconds = f"{sum(entry['seconds'] or 0 for entry in time.values()):,.1f}"
    table.add_row("all", "", seconds, "", *map(_peak, known.values()))
    return table


def _peak(peaks: Iterable[float | None]) -> str:
    """The largest of those that are known."""
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known):.1f}" if known else "–"


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, min_width=min(len(title), 78))
    for column in left:
        table.add_column(column, overflow="fold", min_width=12)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _name(text: str) -> Text:
    """A name as plain text, so that rich does not read brackets in it as markup."""
    return Text(plain_label(text, 48))
