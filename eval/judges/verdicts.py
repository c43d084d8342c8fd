"""Gets a judge's verdicts on answers, shared among the ranks and kept by content.

A verdict is kept under the hash of judge, request and answer (cache/verdicts/JUDGE/part-*.parquet), so that neither
another run nor a rerun asks for it again. Only the first rank reads and writes there, because the cache may be local to
a node. A missing verdict is not kept; the next run of the stage asks for it again.
"""

from pathlib import Path

import polars as pl

from forgetfilter.files import sha256_value
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import gathered, shared, world
from forgetfilter.process.progress import progress
from forgetfilter.storage.cache import keep, read_kept

from . import Judge, Pair, Verdict


def judge_all(judge: Judge, pairs: list[Pair], cache: Path, what: str) -> list[Verdict]:
    """A verdict for each pair, in their order; to be called by every rank with the same pairs.

    Every rank gets all verdicts. Raises Stopped after a signal, with every finished round kept.
    """
    if not judge.kept:
        return judge.judge(pairs)
    here = world()
    folder = cache / "verdicts" / judge.identity[:32]
    keys = [sha256_value(pair) for pair in pairs]
    stored = read_kept(folder, set(keys)) if here.is_main else {}
    known: dict[str, float] = shared({key: verdict for key, (verdict,) in stored.items()})
    todo = list({key: pair for key, pair in zip(keys, pairs) if key not in known}.items())
    share = judge.at_once * here.size
    with progress(what, len(todo)) as meter:
        for start in range(0, len(todo), share):
            mine = todo[start + here.rank * judge.at_once :][: judge.at_once]
            verdicts = judge.judge([pair for _, pair in mine]) if mine else []
            good = {key: verdict for (key, _), verdict in zip(mine, verdicts) if verdict is not None}
            together = {key: verdict for part in gathered(good) for key, verdict in part.items()}
            if here.is_main:
                keep(folder, {key: (verdict,) for key, verdict in together.items()}, {"verdict": pl.Float64})
            known |= together
            meter.advance(min(share, len(todo) - start))
            interrupts.stop_if_requested(what)
    return [known.get(key) for key in keys]
