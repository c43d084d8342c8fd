"""What the stages cost: how many tokens a second, how much padding, how much memory, for people."""

from collections.abc import Iterable

from forgetfilter.process.passes import Pass
from forgetfilter.process.progress import duration
from forgetfilter.storage.formats import StageTime

PASS_COLUMNS = ("tokens", "tokens/s", "a rank", "padding", "data", "loss log", "peak GB", "GPU GB")
UNKNOWN = "–"


def stage_rates(entry: StageTime) -> str:
    """The tokens a second of a stage's passes together, and those of the answers that it generated, in lines."""
    passes = [Pass.read(told) for told in entry["passes"].values()]
    known = {" generated": [one for one in passes if one.answers], "": [one for one in passes if not one.answers]}
    rates = {kind: _rate(of) for kind, of in known.items()}
    return "\n".join(f"{rate:,.0f}{kind}" for kind, rate in rates.items() if rate is not None) or UNKNOWN


def _rate(passes: Iterable[Pass]) -> float | None:
    passes = list(passes)
    seconds = sum(one.seconds for one in passes)
    return sum(one.tokens for one in passes) / seconds if seconds else None


def pass_rows(time: dict[str, StageTime]) -> list[dict[str, object]]:
    """A row for each pass over data: its stage, its name, and what it took in the order of PASS_COLUMNS."""
    return [
        {"stage": stage, "name": name, "values": _values(Pass.read(told))}
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
        UNKNOWN if share is None else f"{share:.1%}",
        duration(done.data_seconds) if done.positions else UNKNOWN,
        duration(done.log_seconds) if done.log_seconds else UNKNOWN,
        _shown(done.memory_gb, 1),
        _shown(done.gpu_gb, 1),
    ]


def _shown(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"
