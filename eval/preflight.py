"""What of an evaluation is known before anything is trained: who measures, what is asked, and what measures nothing."""

from collections.abc import Sequence

from forgetfilter.config.schema import EvalConfig

from . import harness, inputs, suites
from .judges.agreement import read_calibration
from .scorers import find_scorer
from .stage import Evaluation


def check_instruments(options: EvalConfig, asked: Sequence[str]) -> None:
    """UserError where what measures the suites that are `asked` is not to be had: a scorer, a judge, its labelled
    answers, a task of the harness. Models are fetched."""
    if "toxicity" in asked:
        find_scorer(options.toxicity_scorer)
    inputs.rivals(options)
    if options.judge.calibration and any(suites.get(name).judged for name in asked):
        read_calibration(options.judge.calibration)
    if options.lm_eval.tasks:
        harness.task_manager(options.lm_eval)


def check_prompts(evaluation: Evaluation) -> list[str]:
    """UserError for the first prompt that its suite cannot ask; to be called once the mix is done. A line where suites
    have none."""
    options = evaluation.options
    here = inputs.suites_with_prompts(evaluation)
    for name in here:
        inputs.rows(evaluation, suites.get(name))
    if without := [name for name in options.suites if name not in here]:
        left = "" if here or options.lm_eval.tasks else ", so the evaluation will measure nothing"
        return [f"eval: no prompts for {', '.join(without)}{left}; eval.data.SUITE.path names them"]
    return []
