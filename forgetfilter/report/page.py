"""report.html of a run: one self-contained page for a reviewer, made from the run's files alone.

The page holds the texts of examples compressed, and shows them on request, or at once with `reveal`. Its content
security policy forbids every network access.
"""

from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.files import write_text
from forgetfilter.report import card as cards
from forgetfilter.report import charts, cost, review
from forgetfilter.report.answers import MOST_PROMPTS, counted, side_by_side
from forgetfilter.report.card import Card
from forgetfilter.report.figures import Figure
from forgetfilter.report.layout import rendered
from forgetfilter.report.loss_curves import figure_of, loss_curves
from forgetfilter.report.rankings import ranking_figures
from forgetfilter.report.review import packed, review_rows
from forgetfilter.report.sentences import (
    DIRECTION_WORDS,
    captions,
    evidence,
    headline,
    instruments,
    number,
    words,
    written_value,
)
from forgetfilter.report.sweep import sweep_view
from forgetfilter.report.task import Reported
from forgetfilter.report.verdict import change, direction
from forgetfilter.storage.formats import RANKINGS, Metrics, Models
from forgetfilter.storage.results import MODELS, read_decisions


def write_report(reported: Reported, reveal: bool = False) -> Path:
    """Writes report.html and card.json into the run folder; returns the page's path.

    With `reveal` the texts of the most forgotten rows are not masked. UserError before the filter has run.
    """
    folder = reported.paths.folder
    card, decisions = cards.make_card(reported), read_decisions(folder)
    figures, rows = make_figures(card, decisions, folder), review_rows(folder, decisions)
    prompts = side_by_side(folder, "evaluation" in reported.stale)
    page = rendered(
        "page.html.j2",
        figures,
        card=card,
        headline=headline(card),
        verdicts=verdict_rows(card),
        safety=safety_rows(card["metrics"]),
        models=MODELS,
        instruments=instruments(card),
        signals=signal_rows(card),
        review={
            "rows": packed({"rows": rows, "answers": review.answers(folder)}),
            "said": review.told(rows, card["dropped"]),
        },
        sweep=sweep_view(folder, card, reported.config["filter"]),
        prompts={"rows": packed(prompts), "suites": counted(prompts), "most": MOST_PROMPTS},
        cost=cost.tables(card["time"]),
        captions=captions(card, decisions),
        reveal=reveal,
    )
    cards.write_card(folder, card)
    path = folder / "report.html"
    write_text(path, page)
    return path


def make_figures(card: Card, decisions: pl.DataFrame, folder: Path) -> dict[str, Figure]:
    """The charts by the id of the element in which the page draws each."""
    threshold, axis = card["threshold"], card["axis"] or card["signal"]  # a summary older than 2026-11-28 has no axis
    figures = {"map": charts.forgetting_map(decisions, card["threshold_line"], card["config"]["seed"])}
    figures["by-source"] = charts.distribution(decisions, "source", axis, threshold)
    if decisions["label"].count():
        figures["by-label"] = charts.distribution(decisions, "label", axis, threshold)
    figures |= ranking_figures(decisions)
    if curves := loss_curves(folder, ["source"]):
        figures["learned-by-source"] = figure_of(curves, charts.source_colours(decisions))
        if decisions["label"].count() and (curves := loss_curves(folder, ["label"])):
            figures["learned-by-label"] = figure_of(curves, charts.LABEL_COLOURS)
    for suite, metrics in card["metrics"].items():
        if drawn := {metric: models for metric, models in metrics.items() if on_unit_scale(models)}:
            figures[f"suite-{suite}"] = charts.metric_bars(drawn)
    return figures


def verdict_rows(card: Card) -> list[dict[str, str]]:
    """The verdicts, each with the figures that it rests on."""
    metrics = card["metrics"]
    return [one | {"evidence": evidence(one, metrics[one["suite"]][one["metric"]])} for one in card["verdict"]]


def safety_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """The rows of the table of safety and task: one for each metric, with a written value for each model."""
    return [
        {
            "suite": suite,
            "metric": words(metric),
            "direction": DIRECTION_WORDS.get(direction(metric, next(iter(models.values()))) or "", "not known"),
            "values": [written_value(models.get(model)) for model in MODELS],
            "change": change(metric, models) or "–",
            "missing": max(one.get("missing") or 0 for one in models.values()),
            "count": max(one.get("n") or 0 for one in models.values()),
        }
        for suite, measured in metrics.items()
        for metric, models in measured.items()
    ]


def signal_rows(card: Card) -> tuple[list[str], list[dict[str, Any]]]:
    """The table of the quality of all signals: its columns, and one row for each signal.

    Both are empty without labels.
    """
    signals = card["quality"]["all_signals"] if card["quality"] else {}
    rows = [
        {"name": name, "used": name == card["signal"], "values": [number(figures[key]) for key in RANKINGS]}
        for name, figures in signals.items()
    ]
    columns = [key.replace("_", " ").replace("auroc", "AUROC").replace("auprc", "AUPRC") for key in RANKINGS]
    return columns if rows else [], rows


def on_unit_scale(models: Models) -> bool:
    """Whether the values can share an axis with rates and scores. Others appear in the table only."""
    values = [value for one in models.values() if (value := one["value"]) is not None]
    return bool(values) and all(abs(value) <= 1 for value in values)
