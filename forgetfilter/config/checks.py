"""Every check of a configuration that needs no model: values that cannot work are refused by their key."""

import re
from collections.abc import Mapping, Sequence

from forgetfilter.config.bounds import check_bounds
from forgetfilter.config.filter_checks import check_filter
from forgetfilter.config.registry import ATTACKS, DEFENCES, GUARDS, JUDGES, SCORERS, SUITES, judge_names
from forgetfilter.config.schema import Config, JudgeConfig
from forgetfilter.errors import UserError, check_choice

LONGEST_NAME = 200  # bytes: file systems take 255, and the names of stages and attempts are appended


def check(config: Config) -> None:
    """Raises UserError for the first value that cannot work, by the key as the user wrote it."""
    _check_choices(config)
    check_bounds(config)
    _check_names(config)
    if config.only_evaluates:
        if not config.eval.data and not config.eval.lm_eval.tasks:
            raise UserError("eval.data is empty: name the prompts of at least one suite, as eval.data.SUITE.path")
        if not prompted_suites(config) and not config.eval.lm_eval.tasks:
            raise UserError("there is nothing to measure: no suite of eval.suites has prompts in eval.data")
    elif config.mixture is None:
        for key, sources in (("noisy", config.data.noisy), ("safe", config.data.safe)):
            if not sources:
                raise UserError(f"data.{key} is empty: set data.{key}.NAME.path, or a mixture")
    elif not config.mixture.pools:
        raise UserError("mixture.pools is empty: name at least one source of unsafe and safe examples")
    if config.train.deepspeed and config.train.method == "qlora" and config.model.dtype not in ("auto", "bfloat16"):
        raise UserError(f"model.dtype must be bfloat16 for qlora under DeepSpeed, got {config.model.dtype!r}")
    if config.train.deepspeed and config.train.optimizer != "adamw":
        way = "leave out train.deepspeed, or use train.optimizer=adamw"
        raise UserError(f"train.optimizer={config.train.optimizer} does not work with DeepSpeed's own optimizer: {way}")
    if config.eval.backend == "vllm" and config.train.method == "qlora":
        raise UserError("eval.backend=vllm does not measure QLoRA's 4-bit models: use eval.backend=transformers")
    if config.score.gradients and config.train.method == "full":
        raise UserError("score.gradients needs train.method=lora or qlora: it compares gradients of the adapter")
    if config.filter.quantile == 1:
        raise UserError("filter.quantile must be below 1, got 1: every example would be dropped")
    _check_judge(config.eval.judge)
    check_filter(config)
    if config.scale:
        _check_grid("scale", {"models": config.scale.models, "seeds": config.scale.seeds})
    if config.compare:
        for name in config.compare.defences:
            DEFENCES.get(name, "compare.defences")
        axes = {f"vary.{key}": values for key, values in config.compare.vary.items()}
        _check_grid("compare", {"defences": config.compare.defences, "seeds": config.compare.seeds, **axes})


def prompted_suites(config: Config) -> list[str]:
    """The suites of `eval.suites` for which the configuration gives prompts."""
    made = {config.mixture.kind, *(["task"] if config.mixture.tasks else [])} if config.mixture else set()
    given = made | {*config.eval.data}
    return [suite for suite in config.eval.suites if (SUITES.get(suite, "eval.suites").prompts or suite) in given]


def _check_names(config: Config) -> None:
    """The run's folder must be one that every command and every file system takes as it is written."""
    name = config.name
    plain = name and name.isprintable() and name == name.strip() and not set(name) & set("/[]*?")
    if not plain or name.startswith((".", "-")) or len(name.encode()) > LONGEST_NAME:
        raise UserError(f"name must be a plain folder name, got {name[:60]!r}")
    for key, value in (("output", config.output), ("cache", config.cache)):
        if not value.strip():
            raise UserError(f"{key} must name a folder, got {value!r}")
    for key, values in (("eval.models", config.eval.models), ("eval.suites", config.eval.suites)):
        if not values and not config.eval.lm_eval.tasks:
            raise UserError(f"{key} is empty: name at least one")


def _check_judge(judge: JudgeConfig) -> None:
    """Refuses what the evaluation would refuse only after the models are trained."""
    if not re.fullmatch(r"\w+", judge.key_variable):  # the value is not shown, since it may be the key itself
        raise UserError("eval.judge.key_variable must be the name of a variable, such as OPENAI_API_KEY")
    if kind := JUDGES.members.get(judge.name):
        kind.check(judge)


def _check_grid(section: str, axes: Mapping[str, Sequence[object]]) -> None:
    """A study has at least one cell, and none twice."""
    for key, values in axes.items():
        if not values:
            raise UserError(f"{section}.{key} is empty: name at least one")
        if twice := [value for value in values if list(values).count(value) > 1]:
            raise UserError(f"{section}.{key} holds {twice[0]} more than once")


def _check_choices(config: Config) -> None:
    check_choice("eval.judge.name", config.eval.judge.name, judge_names())
    if "/" not in config.eval.toxicity_scorer:  # with a slash it names a model by folder or hub id
        SCORERS.get(config.eval.toxicity_scorer, "eval.toxicity_scorer")
    if config.score.guard.name:
        GUARDS.get(config.score.guard.name, "score.guard.name")
    if config.mixture and config.mixture.attack:
        ATTACKS.get(config.mixture.attack, "mixture.attack")
    for number, suite in enumerate(config.eval.suites):
        SUITES.get(suite, f"eval.suites[{number}]")
