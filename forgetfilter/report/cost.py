"""What the stages cost: how many tokens a second, how much padding, how much memory, for people."""

from collections.abc import Sequence

from forgetfilter.process.passes import Pass
from forgetfilter.process.progress import duration
from forgetfilter.storage.formats import StageTime

STAGE_COLUMNS = ("time", "ranks", "peak GB", "GPU GB")
PASS_COLUMNS = ("tokens", "tokens/s", "a rank", "of the ceiling", "padding", "data", "loss log", "peak GB", "GPU GB")
UNKNOWN = "–"


def stage_rates(entry: StageTime) -> str:
    """The tokens a second of a stage's passes together, and those of the answers that it generated, in lines; the
    share of the device's ceiling where all of them know it."""
    passes = [Pass.read(told) for told in entry["passes"].values()]
    known = {" generated": [one for one in passes if one.answers], "": [one for one in passes if not one.answers]}
    rates = {kind: _rate(of) for kind, of in known.items()}
    lines = [f"{rate:,.0f}{kind}" for kind, rate in rates.items() if rate is not None]
    share = _of_ceiling(known[""])
    return "\n".join([*lines, *([] if share is None else [f"{share:.0%} of ceiling"])]) or UNKNOWN


def _rate(passes: Sequence[Pass]) -> float | None:
    seconds = sum(one.seconds for one in passes)
    return sum(one.tokens for one in passes) / seconds if seconds else None


def _of_ceiling(passes: Sequence[Pass]) -> float | None:
    """Of several passes together, each of which counts by its seconds."""
    shares = [one.ceiling_share for one in passes]
    if not shares or None in shares:
        return None
    weighted = sum((share or 0.0) * one.seconds for share, one in zip(shares, passes))
    return weighted / sum(one.seconds for one in passes)


def tables(time: dict[str, StageTime]) -> dict[str, object]:
    """The report's two tables: their columns of numbers, and their rows."""
    return {
        "stages": [_stage_row(stage, entry) for stage, entry in time.items()],
        "stage_columns": STAGE_COLUMNS,
        "passes": pass_rows(time),
        "pass_columns": PASS_COLUMNS,
    }


def _stage_row(stage: str, entry: StageTime) -> list[str]:
    started = (entry["start"] or UNKNOWN)[:19].replace("T", " ")
    peaks = (_shown(entry["memory_gb"], 1), _shown(entry["gpu_gb"], 1))
    return [stage, str(entry["status"]), started, duration(entry["seconds"]), _shown(entry["world_size"]), *peaks]


def pass_rows(time: dict[str, StageTime]) -> list[list[str]]:
    """A row for each pass over data: its stage, its name, and what it took in the order of PASS_COLUMNS."""
    return [
        [stage, name, *_values(Pass.read(told))]
        for stage, entry in time.items()
        for name, told in entry["passes"].items()
    ]


def _values(done: Pass) -> list[str]:
    kind = (" generated" if done.answers else "") + ("" if done.whole else ", last part")
    rate, share = done.tokens_per_second, done.padded_share
    return [
        f"{done.tokens:,}{kind}",
        _shown(rate),
        _shown(None if rate is None else rate / done.ranks),
        _percent(done.ceiling_share),
        _percent(share),
        duration(done.data_seconds) if done.positions else UNKNOWN,
        duration(done.log_seconds) if done.log_seconds else UNKNOWN,
        _shown(done.memory_gb, 1),
        _shown(done.gpu_gb, 1),
    ]


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"


def _shown(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"
