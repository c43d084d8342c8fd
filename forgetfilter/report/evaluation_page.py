"""report.html and card.json of an evaluation alone, of a run in which nothing was filtered (yet)."""

from pathlib import Path

from forgetfilter.errors import plain_label
from forgetfilter.files import write_json, write_text
from forgetfilter.report.card import Evaluated, make_evaluated
from forgetfilter.report.charts import metric_bars
from forgetfilter.report.layout import Section, document
from forgetfilter.report.page import on_unit_scale
from forgetfilter.report.sentences import DIRECTION_WORDS, instruments, words, written_value
from forgetfilter.report.task import Reported
from forgetfilter.report.verdict import direction
from forgetfilter.storage.formats import Measured, Metrics
from forgetfilter.storage.results import MODELS, read_metrics

COLUMNS = ("suite", "metric", "model", "value", "n", "missing")
NOTE = "Square brackets and the thin bars show 95% intervals, where the suite gives them."


def write_evaluation(reported: Reported) -> Path:
    """Writes both; returns the page's path. UserError for an evaluation that cannot be read."""
    folder = reported.paths.folder
    told = make_evaluated(reported, reported.config)
    project, model = told["project"], plain_label(str(told["config"]["model"]["name"]), 200)
    made = f"Model {model} · forgetfilter {project['version']}, commit {project['commit']}"
    measured = read_metrics(folder, "evaluation" in reported.stale, by_part=True)
    sections = [*_bars(told), Section("All metrics", columns=COLUMNS, rows=_rows(measured))]
    write_json(folder / "card.json", told)
    path = folder / "report.html"
    title, about = f"Evaluation of {plain_label(told['name'])}", (made, *instruments(told), NOTE)
    write_text(path, document(title, about, sections))
    return path


def _bars(told: Evaluated) -> list[Section]:
    """The metrics of each suite that can share an axis, without those of parts of the prompts."""
    drawn = {
        suite: {metric: models for metric, models in metrics.items() if on_unit_scale(models)}
        for suite, metrics in told["metrics"].items()
    }
    return [Section(words(suite), metric_bars(metrics)) for suite, metrics in drawn.items() if metrics]


def _rows(measured: Metrics) -> list[tuple[str, ...]]:
    """Every metric of each model, by category too."""
    return [
        _cells(suite, metric, model, metrics[metric][model])
        for suite, metrics in measured.items()
        for model in MODELS
        for metric in metrics
        if model in metrics[metric]
    ]


def _cells(suite: str, metric: str, model: str, entry: Measured) -> tuple[str, ...]:
    better = DIRECTION_WORDS.get(direction(metric, entry) or "")
    name = f"{words(plain_label(metric, 80))}{f' ({better})' if better else ''}"
    return suite, name, model, written_value(entry), str(entry["n"]), str(entry["missing"])
