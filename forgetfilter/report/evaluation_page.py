"""report.html and card.json of an evaluation alone, of a run in which nothing was filtered (yet)."""

import html
from pathlib import Path

from forgetfilter.errors import plain_label
from forgetfilter.files import write_json, write_text
from forgetfilter.report.card import Evaluated, make_evaluated
from forgetfilter.report.charts import INK, metric_bars
from forgetfilter.report.figures import Figure, document
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
    title = f"Evaluation of {plain_label(told['name'])}"
    sentences = "".join(f"<p>{html.escape(text)}</p>" for text in (*instruments(told), NOTE))
    parts: list[str | Figure] = [f"<h1>{html.escape(title)}</h1>{_about(told)}{sentences}", *_bars(told)]
    write_json(folder / "card.json", told)
    path, measured = folder / "report.html", read_metrics(folder, "evaluation" in reported.stale, by_part=True)
    write_text(path, document(title, [*parts, _table(measured)], INK))
    return path


def _about(told: Evaluated) -> str:
    model, made = str(told["config"]["model"]["name"]), told["project"]
    text = f"Model {plain_label(model, 200)} · forgetfilter {made['version']}, commit {made['commit']}"
    return f"<p>{html.escape(text)}</p>"


def _bars(told: Evaluated) -> list[str | Figure]:
    """The metrics of each suite that can share an axis, without those of parts of the prompts."""
    parts: list[str | Figure] = []
    for suite, metrics in told["metrics"].items():
        if drawn := {metric: models for metric, models in metrics.items() if on_unit_scale(models)}:
            parts += [f"<h2>{html.escape(words(suite))}</h2>", metric_bars(drawn)]
    return parts


def _table(measured: Metrics) -> str:
    """Every metric of each model, by category too."""
    rows = [
        _cells(suite, metric, model, metrics[metric][model])
        for suite, metrics in measured.items()
        for model in MODELS
        for metric in metrics
        if model in metrics[metric]
    ]
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f'<th scope="col" align="left">{name}</th>' for name in COLUMNS)
    return (
        f'<h2>All metrics</h2><div style="overflow-x: auto"><table cellpadding="6"><tr>{head}</tr>{lines}</table></div>'
    )


def _cells(suite: str, metric: str, model: str, entry: Measured) -> tuple[str, ...]:
    better = DIRECTION_WORDS.get(direction(metric, entry) or "")
    name = f"{words(plain_label(metric, 80))}{f' ({better})' if better else ''}"
    return suite, name, model, written_value(entry), str(entry["n"]), str(entry["missing"])
