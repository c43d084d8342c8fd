"""Answers by vLLM, made before the ranks of the eval stage start: one process has all GPUs of this machine.

The stage then finds them there, as answers of its own, and adds likelihoods, verdicts, scores and metrics.
"""

from forgetfilter.models.vllm_engine import VllmStates
from forgetfilter.process.distributed import world
from forgetfilter.storage.run_folder import Run

from . import inputs, suites
from .outputs import answer, lacks_answers


def answer_ahead(run: Run, models: list[str]) -> None:
    """Writes what the models have not answered yet, shard by shard. Stopped after a signal."""
    tokenizer = inputs.tokenizer(run)
    trained = {name: inputs.trained(run, name) for name in models}
    here = {name: suites.get(name) for name in inputs.suites_with_prompts(run)}
    rows = {name: inputs.rows(run, suite) for name, suite in here.items() if suite.generates}
    states = VllmStates(inputs.base(run), inputs.dtype(run, world()), list(trained.values()))
    try:
        for model, adapted in trained.items():
            asking = inputs.asking(run, model, tokenizer, world())
            for name, asked in rows.items():
                place = inputs.folder(run, model, name)
                if lacks_answers(here[name], asked, place, asking):
                    with states.use(adapted) as loaded:
                        answer(loaded, here[name], asked, place, asking, f"{name} of {model}, by vLLM")
    finally:
        states.close()
