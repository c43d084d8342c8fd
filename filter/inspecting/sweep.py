"""The curve over a rule's setting: what each value would keep and drop and, with labels, how well."""

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table as Shown

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_path, write_text
from forgetfilter.report.charts import curves
from forgetfilter.report.layout import Section, document

from .. import rules, signals
from ..decide import scored
from ..swept import ESTIMATED, MEASURES, Sweep, replaced
from ..task import FilterTask

SHOWN_ROWS = 20
STEPS = (1, 2, 5)  # the distance between two rows that are shown


def sweep(task: FilterTask) -> pl.DataFrame:
    """Writes filter/sweep.parquet and filter/sweep.html; the rows, one a value of the rule's first setting.

    Columns: setting (Float64), threshold (see Ruling.cut), kept, dropped, share (of all but probes), where the probes
    tell them unsafe_left with its interval and good_lost (rows, by estimate), and with labels precision, recall, f1.
    The review is left out. Raises UserError for a rule without a number to vary.
    """
    config, folder = task.options, task.paths.folder / "filter"
    rule = varied(task)
    if rule.sweep is None:
        able = ", ".join(known.name for known in rules.every() if known.sweep)
        raise UserError(f"filter.rule={rule.name} has no number to vary: --sweep works with {able}")
    varies = rule.settings[0]
    if key := replaced(rule, config):
        raise UserError(f"--sweep varies filter.{varies}, replaced here by filter.{key}: set filter.{key}=null")
    settings = {key: getattr(config, key) for key in rule.settings}
    with scored(task) as (table, signal, scores, _):
        swept = Sweep(table, scores, signal.name, rule, settings)
        rows = [
            {"setting": one.setting, "threshold": one.threshold, "kept": one.kept, "dropped": one.dropped}
            | {"share": one.dropped / max(1, one.kept + one.dropped)}
            | (one.estimate or dict.fromkeys(ESTIMATED if scores.probe is not None else ()))
            | one.measured
            for one in swept.tried(swept.values())
        ]
    kinds = {"setting": pl.Float64, "threshold": pl.Float64} | dict.fromkeys((*ESTIMATED, *MEASURES), pl.Float64)
    frame = pl.DataFrame(rows, schema_overrides={k: v for k, v in kinds.items() if k in rows[0]})
    frame = frame.sort("share", maintain_order=True)
    with atomic_path(folder / "sweep.parquet") as temporary:
        frame.write_parquet(temporary)
    named = {"share": "share of the examples that is dropped"} | {k: k for k in MEASURES if k in frame.columns}
    figure, title = curves(frame, "setting", named, f"filter.{varies}"), f"{signal.name}, {rule.name}"
    write_text(folder / "sweep.html", document(title, (), [Section(figure=figure)]))
    return frame


def varied(task: FilterTask) -> rules.Rule:
    """The rule whose setting makes the curve: the run's, or quantile where auto stands for one without a number."""
    rule = rules.get(task.options.rule)
    return rules.get("quantile") if rule.sweep is None and task.rule_is_auto else rule


def shown(frame: pl.DataFrame, task: FilterTask) -> Shown:
    """Some twenty rows of the curve for the terminal; where the settings are hundredths, round ones are chosen."""
    rule, config = varied(task), task.options
    name = signals.chosen(config.signal, config.combine).name
    table = Shown(
        title=f"{name}, filter.rule={rule.name}", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True
    )
    frame = frame.drop(*ESTIMATED[1:3] if "f1" not in frame.columns else ESTIMATED, strict=False)  # 80 columns are few
    for column in frame.columns:
        table.add_column(rule.settings[0] if column == "setting" else column, justify="right", no_wrap=True)
    step = next((step for step in STEPS if len(frame) <= step * SHOWN_ROWS), len(frame) // SHOWN_ROWS)
    for row in frame[0 if frame["setting"][0] == 0 else step - 1 :: step].iter_rows():
        table.add_row(*(_number(value) for value in row))
    return table


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
