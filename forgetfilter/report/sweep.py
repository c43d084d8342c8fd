"""What other values of the rule's setting would drop, as filter/sweep.json tells it, for the slider and its table."""

import json
import shlex
from pathlib import Path
from typing import Any, cast

from forgetfilter.config.load import written
from forgetfilter.errors import plain_label
from forgetfilter.report.card import Card
from forgetfilter.storage.formats import Counts, SweepTable
from forgetfilter.storage.results import read_optional

SHOWN_ROWS = 20  # of the table


def sweep_view(folder: Path, card: Card, own: dict[str, Any]) -> dict[str, Any] | None:
    """What the template takes: how the sweep was made, its table, and JSON for the slider; None without a sweep.

    `own` are the filter's settings in the run's config.yaml, of which the decision may have taken others.
    """
    told = cast(SweepTable | None, read_optional(folder / "filter" / "sweep.json"))
    if told is None:
        return None
    now = told["now"]
    nearest = min(range(len(told["values"])), key=lambda place: abs(told["dropped"][place] - card["dropped"]))
    data = {
        "name": f"filter.{told['varies']}",
        "command": command(folder, card, told, own),
        "present": card["dropped"] if now is None else told["dropped"][now],
        "sources": _sources(told, card),
        **{key: told[key] for key in ("now", "values", "kept", "dropped", "by_probes", "by_label")},
    }
    return {
        "told": told,
        "start": nearest if now is None else now,
        "data": json.dumps(data, separators=(",", ":"), ensure_ascii=False),
        "columns": _columns(told),
        "rows": _rows(told),
    }


def command(folder: Path, card: Card, told: SweepTable, own: dict[str, Any]) -> str:
    """The command that decides by another value, up to that value. It names what the run's own settings lack."""
    used = card["config"]["filter"]  # the card has the settings of the decision
    read = card["rule"] if told["rule"] == card["rule"]["name"] else {}
    kept = {key: value for key, value in read.items() if key not in ("name", told["varies"])}
    wanted = {key: used[key] for key in ("signal", "combine", "too_long")} | {"rule": told["rule"]} | kept
    given = [written(f"filter.{key}", value) for key, value in wanted.items() if value != own.get(key)]
    return " ".join(["forgetfilter filter", shlex.quote(str(folder)), *given, f"filter.{told['varies']}="])


def _sources(told: SweepTable, card: Card) -> list[dict[str, Any]]:
    """Each source with its rows, and what is dropped of it now and by each value: the largest first, others last."""
    counts, now = card["by_source"], told["now"]
    apart = [name for name in counts if name in told["by_source"]]
    groups = [([name], plain_label(name), told["by_source"][name]) for name in apart]
    groups.sort(key=lambda group: -_all(counts[group[0][0]]))
    if rest := [name for name in counts if name not in told["by_source"]]:
        groups.append((rest, "other sources", told["other_sources"]))
    return [
        {
            "name": shown,
            "rows": sum(_all(counts[name]) for name in names),
            "now": sum(counts[name]["dropped"] for name in names) if now is None else dropped[now],
            "dropped": dropped,
        }
        for names, shown, dropped in groups
    ]


def _all(counts: Counts) -> int:
    return counts["kept"] + counts["dropped"]


def _columns(told: SweepTable) -> list[str]:
    found = [f"filter.{told['varies']}", "dropped", "share"]
    for by, there in (("estimated", told["by_probes"]), ("by the labels", told["by_label"])):
        found += [f"unsafe left, {by}", f"good lost, {by}"] if there else []
    return found


def _rows(told: SweepTable) -> list[dict[str, Any]]:
    """Some SHOWN_ROWS rows of the table, that of the used value among them."""
    count, now = len(told["values"]), told["now"]
    places = sorted({*range(0, count, -(-count // SHOWN_ROWS))} | ({now} if now is not None else set()))
    return [{"now": place == now, "values": _cells(told, place)} for place in places]


def _cells(told: SweepTable, place: int) -> list[str]:
    dropped = told["dropped"][place]
    share = dropped / max(1, dropped + told["kept"][place])
    cells = [f"{told['values'][place]:.4g}", f"{dropped:,}", f"{share:.1%}"]
    if probes := told["by_probes"]:
        left, lost = probes["unsafe_left"][place], probes["good_lost"][place]
        ends = f"{probes['unsafe_left_low'][place] or 0:,.0f} to {probes['unsafe_left_high'][place] or 0:,.0f}"
        cells += ["–", "–"] if left is None or lost is None else [f"{left:,.0f} ({ends})", f"{lost:,.0f}"]
    if labels := told["by_label"]:
        cells.append(f"{labels['unsafe_left'][place]:,} of {labels['unsafe']:,}")
        cells.append(f"{labels['good_lost'][place]:,} of {labels['good']:,}")
    return cells
