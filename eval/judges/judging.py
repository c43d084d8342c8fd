"""The judging in an evaluation: the judge's agreement with labelled answers, and its verdicts on models' answers.

A verdict is kept under the hash of judge, request and answer (cache/verdicts/JUDGE/part-*.parquet), so that neither
another run nor a rerun asks for it again. Only the first rank reads and writes there, because the cache may be local to
a node. A missing verdict is not kept; the next run of the stage asks for it again.
"""

from pathlib import Path

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value, write_json
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import World, gathered, shared, world
from forgetfilter.process.progress import console, progress
from forgetfilter.storage.cache import keep, read_kept

from .. import inputs, suites
from ..outputs import read_outputs
from ..task import Evaluation
from . import Judge, Pair, Verdict
from .agreement import agreement

Verdicts = dict[str, float | None]  # the verdict on the answer to each prompt, by the prompt's id


def measure_judge(evaluation: Evaluation, judge: Judge, pairs: list[Pair], labels: list[bool], world: World) -> None:
    """Writes the judge's agreement with labelled answers; to be called by every rank."""
    name = evaluation.judge_name
    agreed = agreement(labels, judge_all(judge, pairs, evaluation.model.cache, f"{name} on labelled answers"))
    if world.is_main:
        values = {metric: measured.told() for metric, measured in agreed.items()}
        write_json(evaluation.agreement_file, {"judge": name, "metrics": values})


def judge_answers(
    evaluation: Evaluation, judge: Judge, models: list[str], judged: list[str], world: World
) -> dict[tuple[str, str], Verdicts]:
    """The verdicts on the answers of each model that are not empty, by model and suite; to be called by every rank.

    Prints how many answers the judge could not judge. UserError where these are more than the config allows.
    """
    config = evaluation.options.judge
    judged_by_suite: dict[tuple[str, str], Verdicts] = {}
    for model in models:
        for suite in judged:
            prompts = inputs.rows(evaluation, suites.get(suite))
            texts = read_outputs(suites.get(suite), prompts, evaluation.folder(model, suite))[0].texts
            asked = [row for row in prompts if texts[row["id"]].strip()]
            pairs = [(row["messages"][-1]["content"], texts[row["id"]]) for row in asked]
            verdicts = judge_all(judge, pairs, evaluation.model.cache, f"{config.name} judges {model}")
            judged_by_suite[model, suite] = dict(zip((row["id"] for row in asked), verdicts))
            _check_missing(judge, verdicts, config.max_missing, f"{config.name} on {suite} of {model}", world)
    return judged_by_suite


def _check_missing(judge: Judge, verdicts: list[float | None], most: float, what: str, world: World) -> None:
    if not (missing := sum(verdict is None for verdict in verdicts)):
        return
    troubles = sorted({trouble for trouble in gathered(judge.trouble) if trouble})
    told = f"{what}: no verdict on {missing} of {len(verdicts)} answers ({'; '.join(troubles)})"
    if missing > most * len(verdicts):
        raise UserError(f"{told}, more than eval.judge.max_missing={most}; what was judged is kept, run again to go on")
    if world.is_main:
        console.print(f"eval: {told}; these count as missing, and the next run asks for them again", style="yellow")


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
