"""Generates the answers with vLLM before the ranks of the eval stage start, in one process that has all GPUs.

The stage then finds the answers as if it had written them, and adds likelihoods, verdicts, scores and metrics.
"""

from forgetfilter.models.vllm_engine import VllmStates
from forgetfilter.process.distributed import world

from . import inputs, suites
from .outputs import answer, lacks_answers
from .task import Evaluation


def answer_ahead(evaluation: Evaluation, models: list[str]) -> None:
    """Writes what the models have not answered yet, shard by shard. Raises Stopped after a signal."""
    tokenizer = evaluation.model.tokenizer()
    trained = {name: inputs.trained(evaluation, name) for name in models}
    generating = [suite for name in inputs.suites_with_prompts(evaluation) if (suite := suites.get(name)).generates]
    asked = [(suite, inputs.rows(evaluation, suite)) for suite in generating]
    states = VllmStates(evaluation.base, evaluation.model.on(world().device).dtype, list(trained.values()))
    try:
        for model, adapted in trained.items():
            asking = inputs.asking(evaluation, model, tokenizer, world())
            for suite, rows in asked:
                place = evaluation.folder(model, suite.name)
                if lacks_answers(suite, rows, place, asking):
                    with states.use(adapted) as loaded:
                        answer(loaded, suite, rows, place, asking, f"{suite.name} of {model}, by vLLM")
    finally:
        states.close()
