"""The evaluation's prompts with the answers of M0, M1, M2 and M* side by side, and which scores flipped.

A score flips where it lies in [0, 1] and crosses one half between M1 and M*, as in `eval --compare`. The page shows the
first sample of each prompt.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.report.sentences import shortened, words
from forgetfilter.storage import scores
from forgetfilter.storage.results import MODELS, measured_suites

MOST_PROMPTS = 100  # of a suite
SHOWN_CHARACTERS = 1_500  # of a prompt, and of an answer
Table = dict[str, dict[str, Any]]  # rows by the ids of their prompts


def side_by_side(folder: Path, stale_refit: bool) -> list[dict[str, Any]]:
    """The prompts of each suite with stored answers, those that flipped first: at most MOST_PROMPTS of each.

    Each is {"suite", "id", "prompt", "flips": [words], "answers": [{"model", "text", "scores"}]}. A `stale_refit`, one
    that is not of today's decision, is left out.
    """
    models = [model for model in MODELS if model != "refit" or not stale_refit]
    return [one for suite in measured_suites(folder) for one in _of_suite(folder, suite, models)]


def counted(prompts: list[dict[str, Any]]) -> dict[str, int]:
    """{SUITE: how many of its prompts are there}."""
    return dict(Counter(one["suite"] for one in prompts))


def _of_suite(folder: Path, suite: str, models: list[str]) -> list[dict[str, Any]]:
    places = {model: folder / "eval" / model / suite for model in models}
    texts = {
        model: told for model, place in places.items() if (told := _read(place, "generations", ["prompt", "text"]))
    }
    measured = {model: _read(places[model], "scores") for model in texts}
    flips = _flips(measured.get("noisy", {}), measured.get("refit", {}))
    ids = list(dict.fromkeys(name for told in texts.values() for name in told))
    ids.sort(key=lambda name: name not in flips)
    return [
        {
            "suite": suite,
            "id": name,
            "prompt": _shown(next(told[name]["prompt"] for told in texts.values() if name in told)),
            "flips": flips.get(name, []),
            "answers": [_answer(model, told, measured[model], name) for model, told in texts.items()],
        }
        for name in ids[:MOST_PROMPTS]
    ]


def _answer(model: str, texts: Table, measured: Table, name: str) -> dict[str, Any]:
    known = {words(key): value for key, value in measured.get(name, {}).items() if value is not None}
    return {"model": model, "text": _shown(texts[name]["text"]) if name in texts else None, "scores": known}


def _flips(before: Table, after: Table) -> dict[str, list[str]]:
    """{ID: a word on each score that flipped} from M1 to M*."""
    common, found = [name for name in before if name in after], dict[str, list[str]]()
    for score in next(iter(before.values()), {}):
        sides = {
            "before": [before[name][score] for name in common],
            "after": [after[name].get(score) for name in common],
        }
        frame = pl.DataFrame({"id": common} | {side: pl.Series(known, strict=False) for side, known in sides.items()})
        ways = ("fell", "rose") if frame["before"].dtype != pl.Boolean else ("yes to no", "no to yes")
        frame = frame.with_columns(pl.col("before", "after").cast(pl.Float64))
        if scores.flipping(score, pl.concat([frame["before"], frame["after"]])):
            for name, _, value in frame.filter(scores.flipped("before", "after")).iter_rows():
                found.setdefault(name, []).append(f"{words(score)} {ways[value > 0.5]}")
    return found


def _read(place: Path, name: str, columns: list[str] | None = None) -> Table:
    """The first row of each prompt of a table: of the given columns, or of those that are scores.

    Empty where the table is not there, or lacks a column.
    """
    path = place / f"{name}.parquet"
    if not path.exists():
        return {}
    try:
        frame = pl.read_parquet(path, columns=["id", *columns] if columns else None, glob=False)
    except pl.exceptions.ColumnNotFoundError:
        return {}
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is not whole: run forgetfilter eval again") from error
    first = frame.unique("id", keep="first", maintain_order=True).select("id", *(columns or scores.names(frame)))
    return {row.pop("id"): row for row in first.iter_rows(named=True)}


def _shown(text: str | None) -> str:
    return shortened(text or "", SHOWN_CHARACTERS)
