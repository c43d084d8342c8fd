"""The eval stage: toxicity, bias, harmfulness and task of each model."""

from dataclasses import asdict

from forgetfilter.files import read_json
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage

MODELS = {"base": (), "noisy": ("train-noisy",), "safe": ("train-safe",), "refit": ("train-refit",)}
"""The models of a run, each with the stages that make it."""


def inputs(run: Run) -> object:
    from . import harness
    from .inputs import input_hash

    options = run.config.eval
    run.require("mix", *(stage for model in options.models for stage in MODELS[model]))
    hashes = [[model, suite, input_hash(run, model, suite)] for model in options.models for suite in options.suites]
    if not options.lm_eval.tasks:
        return hashes
    return [hashes, asdict(options.lm_eval), harness.own_tasks(options.lm_eval)]


def foreign(run: Run) -> dict[str, str | None]:
    from forgetfilter.models.identity import folder_hash

    from .inputs import base, cache, rivals

    folders = {"model": base(run).path} | rivals(run)
    return {key: folder_hash(folder, cache(run)) for key, folder in folders.items()}


def work(run: Run) -> None:
    from forgetfilter.process.launch import launch

    options = run.config.launch
    if run.config.eval.backend == "vllm":
        from .vllm_answers import answer_ahead

        answer_ahead(run, list(run.config.eval.models))
    args = [str(run.folder), *run.config.eval.models]
    launch("forgetfilter.eval.__main__", args, options.processes, options.threads, nodes=options.nodes)


def unfinished(run: Run) -> bool:
    """Whether an evaluation that is done lacks verdicts that another try may give."""
    folders = (run.folder / "eval" / model / suite for model in MODELS for suite in run.config.eval.suites)
    paths = (folder / "metrics.json" for folder in folders)
    return any(read_json(path).get("failed") for path in paths if path.exists())


# It knows itself what of an earlier evaluation still holds, so nothing is removed before it starts.
EVAL = Stage("eval", inputs, work, foreign, unfinished=unfinished)
