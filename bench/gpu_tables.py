"""The tables of bench/gpu.py: its rows, and each aim with what was measured of it."""

from collections.abc import Mapping, Sequence
from typing import Any

Found = Mapping[str, Mapping[str, Any]]  # the result of each row by its name
LONG, SHORT = "LoRA 7B, 2,000-token rows", "LoRA 7B, short rows"
OFF, FIXED = f"{LONG}, hook off", f"{LONG}, planned"
PADDED, PADDED_LONG = "TRL padded, 7B, short rows", "TRL padded, 7B, 2,000-token rows"
PACKED = "TRL packed (mixing), 7B, short rows"
SCORED, QLORA = "scoring 7B, 2,000-token rows", "QLoRA 7B, short rows"
ROWS = (LONG, OFF, FIXED, SHORT, PADDED, PADDED_LONG, PACKED, QLORA, SCORED, "full 3B, 2,000-token rows")
ELSEWHERE = {
    "plan's hours off by (bench/plan_memory.py --hours)": "within 0.10",
    "training on a CPU against TRL (bench/peers.py)": "3.5",
    "scoring on a CPU against lm-evaluation-harness (bench/peers.py)": "2",
    "plan of 10 million rows, seconds (bench/planning.py)": "at most 10",
}  # aims that other benches measure


def tables(found: Found) -> str:
    """Both, in Markdown."""
    lines = ["| work | tokens/s | of the ceiling | peak GB | first step s |", "| --- | --- | --- | --- | --- |"]
    for row, values in found.items():
        if "tokens_per_s" in values:
            share = "not counted" if (part := of_ceiling(found, row)) is None else f"{part:.0%}"
            rate, memory = f"{values['tokens_per_s']:,.0f}", values["peak_gb"]
            lines.append(f"| {row} | {rate} | {share} | {memory} | {values.get('first_step_s', '')} |")
        elif "failed" in values or "left_out" in values:
            lines.append(f"| {row} | {values.get('failed') or values['left_out']} | | | |")
    lines += [f"| {row} | not measured | | | |" for row in ROWS if row not in found]
    lines += ["", "| aim | measured | at least |", "| --- | --- | --- |"]
    for aim, (measured, least) in (aims(found) | {aim: (None, least) for aim, least in ELSEWHERE.items()}).items():
        lines.append(f"| {aim} | {'not measured' if measured is None else f'{measured:.3g}'} | {least} |")
    return "\n".join(lines)


def aims(found: Found) -> dict[str, tuple[float | None, str]]:
    """Each aim with what was measured of it, None where nothing was."""
    hook = ratio(found, OFF, [LONG])
    planned, peak = value(found, FIXED, "planned_gb"), value(found, FIXED, "peak_gb")
    fulls = [share for row in found if row.startswith("full ") and (share := of_ceiling(found, row))]
    return {
        "LoRA 7B, 2,000-token rows, of the ceiling": (of_ceiling(found, LONG), "0.55"),
        "LoRA 7B, short rows, of the ceiling": (of_ceiling(found, SHORT), "0.55"),
        "LoRA 7B, short rows, against TRL padded": (ratio(found, SHORT, [PADDED]), "2.5"),
        "LoRA 7B, short rows, against TRL's best": (ratio(found, SHORT, [PADDED, PACKED]), "1.3"),
        "LoRA 7B, 2,000-token rows, against TRL": (ratio(found, LONG, [PADDED_LONG]), "1.3"),
        "QLoRA 7B, of the ceiling": (of_ceiling(found, QLORA), "0.45"),
        "full, of the ceiling": (max(fulls, default=None), "0.58"),
        "scoring 7B, of the ceiling": (of_ceiling(found, SCORED), "0.70"),
        "GPU busy during training": (value(found, "profile", "busy"), "0.95"),
        "hook, of the time": (None if hook is None else hook - 1, "at most 0.01"),
        "plan's memory off by": (planned / peak - 1 if planned and peak else None, "within 0.03"),
    }


def value(found: Found, row: str, key: str) -> float | None:
    """A number of a row; None where it was not measured."""
    given = found.get(row, {}).get(key)
    return None if given is None else float(given)


def of_ceiling(found: Found, row: str) -> float | None:
    """None where operations were not counted (TRL's), or the ceiling was not measured."""
    work, ceiling = value(found, row, "operations"), value(found, "ceiling", "tflops")
    seconds = value(found, row, "seconds")
    return work / seconds / 1e12 / ceiling if work and ceiling and seconds else None


def ratio(found: Found, row: str, others: Sequence[str]) -> float | None:
    """The tokens a second of a row over those of the best of others, all of which must have been measured."""
    own, peers = value(found, row, "tokens_per_s"), [value(found, other, "tokens_per_s") for other in others]
    known = [peer for peer in peers if peer]
    return own / max(known) if own and len(known) == len(peers) else None
