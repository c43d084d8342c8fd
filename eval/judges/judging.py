"""The judging of an evaluation: the judge beside labelled answers, and its verdicts on the models' answers."""

from forgetfilter.errors import UserError
from forgetfilter.files import write_json
from forgetfilter.process.distributed import World, gathered
from forgetfilter.process.progress import console

from .. import inputs, suites
from ..outputs import read_outputs
from ..stage import Evaluation
from . import Judge, Pair
from .agreement import agreement
from .verdicts import judge_all

Verdicts = dict[str, float | None]  # by prompt id


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
    """The verdicts on each model's answers that are not empty, by model and suite; to be called by every rank.

    What the judge could not judge is counted and said; UserError where that is more than the config allows.
    """
    config = evaluation.options.judge
    found: dict[tuple[str, str], Verdicts] = {}
    for model in models:
        for suite in judged:
            prompts = inputs.rows(evaluation, suites.get(suite))
            texts = read_outputs(suites.get(suite), prompts, evaluation.folder(model, suite))[0].texts
            asked = [row for row in prompts if texts[row["id"]].strip()]
            pairs = [(row["messages"][-1]["content"], texts[row["id"]]) for row in asked]
            verdicts = judge_all(judge, pairs, evaluation.model.cache, f"{config.name} judges {model}")
            found[model, suite] = dict(zip((row["id"] for row in asked), verdicts))
            _check_missing(judge, verdicts, config.max_missing, f"{config.name} on {suite} of {model}", world)
    return found


def _check_missing(judge: Judge, verdicts: list[float | None], most: float, what: str, world: World) -> None:
    if not (missing := sum(verdict is None for verdict in verdicts)):
        return
    troubles = sorted({trouble for trouble in gathered(judge.trouble) if trouble})
    told = f"{what}: no verdict on {missing} of {len(verdicts)} answers ({'; '.join(troubles)})"
    if missing > most * len(verdicts):
        raise UserError(f"{told}, more than eval.judge.max_missing={most}; what was judged is kept, run again to go on")
    if world.is_main:
        console.print(f"eval: {told}: they are missing, and asked for again by the next run", style="yellow")
