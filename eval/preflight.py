"""Checks of an evaluation that are made before anything is trained: its judge, scorer and tasks, and its prompts."""

from collections.abc import Sequence

from forgetfilter.config.schema import EvalConfig

from . import harness, inputs, suites
from .judges.agreement import read_calibration
from .scorers import find_scorer
from .task import Evaluation


def check_instruments(options: EvalConfig, asked: Sequence[str]) -> None:
    """UserError where a scorer, a judge, its labelled answers or a task of the harness is not available.

    Only what the suites in `asked` need is checked. Models are fetched.
    """
    if "toxicity" in asked:
        find_scorer(options.toxicity_scorer)
    inputs.other_models(options)
    if options.judge.calibration and any(suites.get(name).judged for name in asked):
        read_calibration(options.judge.calibration)
    if options.lm_eval.tasks:
        harness.task_manager(options.lm_eval)


def check_prompts(evaluation: Evaluation) -> list[str]:
    """UserError for the first prompt that its suite cannot ask, and a line for people where suites have no prompts.

    To be called once the mix is done.
    """
    options = evaluation.options
    asked = inputs.suites_with_prompts(evaluation)
    for name in asked:
        inputs.rows(evaluation, suites.get(name))
    if without := [name for name in options.suites if name not in asked]:
        left = "" if asked or options.lm_eval.tasks else ", so the evaluation will measure nothing"
        return [f"eval: there are no prompts for {', '.join(without)}{left}; eval.data.SUITE.path names them"]
    return []
