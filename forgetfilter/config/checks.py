"""Every check of a configuration that needs no model: values that cannot work are refused by their key."""

import math
from typing import Any

from forgetfilter.config.filter_checks import check_filter
from forgetfilter.config.schema import (
    BACKENDS,
    BIAS_FORMULAS,
    GUARDS,
    JUDGES,
    SCORERS,
    SUITES,
    Config,
    PoolConfig,
    ScaleConfig,
    ScheduleConfig,
    SourceConfig,
)
from forgetfilter.errors import UserError, nearest

MIXTURE_COUNTS = ("trusted_tasks", "probes", "control", "eval_size")


def check(config: Config) -> None:
    """Raises UserError for the first value that cannot work, by the key as the user wrote it."""
    _check_choices(config)
    _check_numbers(config)
    if not config.name or "/" in config.name or config.name.startswith("."):
        raise UserError(f"name must be a plain folder name, got {config.name!r}")
    if config.only_evaluates:
        if not config.eval.data and not config.eval.lm_eval.tasks:
            raise UserError("eval.data is empty: name the prompts of at least one suite, as eval.data.SUITE.path")
        asked = {suite.removesuffix("_generation") for suite in config.eval.suites}
        if not asked & set(config.eval.data) and not config.eval.lm_eval.tasks:
            raise UserError("there is nothing to measure: no suite of eval.suites has prompts in eval.data")
    elif config.mixture is None:
        for key, sources in (("noisy", config.data.noisy), ("safe", config.data.safe)):
            if not sources:
                raise UserError(f"data.{key} is empty: set data.{key}.NAME.path, or a mixture")
    elif not config.mixture.pools:
        raise UserError("mixture.pools is empty: name at least one source of unsafe and safe examples")
    if config.train.deepspeed and config.train.method == "qlora" and config.model.dtype not in ("auto", "bfloat16"):
        raise UserError(f"model.dtype must be bfloat16 for qlora under DeepSpeed, got {config.model.dtype!r}")
    if config.eval.backend == "vllm" and config.train.method == "qlora":
        raise UserError("eval.backend=vllm does not measure QLoRA's 4-bit models: use eval.backend=transformers")
    if config.score.gradients and config.train.method == "full":
        raise UserError("score.gradients needs train.method=lora or qlora: it compares gradients of the adapter")
    check_filter(config)
    if config.scale:
        _check_scale(config.scale)


def _check_scale(scale: ScaleConfig) -> None:
    for key, values in (("scale.models", [*scale.models]), ("scale.seeds", [str(seed) for seed in scale.seeds])):
        if not values:
            raise UserError(f"{key} is empty: name at least one")
        if twice := [value for value in values if values.count(value) > 1]:
            raise UserError(f"{key} holds {twice[0]} more than once")
    _require(
        {f"scale.seeds[{n}]": seed for n, seed in enumerate(scale.seeds)}, lambda v: v >= 0, "must not be negative"
    )


def _check_choices(config: Config) -> None:
    choices: dict[str, tuple[Any, tuple[str, ...]]] = {
        "model.dtype": (config.model.dtype, ("auto", "bfloat16", "float16", "float32")),
        "model.attention": (config.model.attention, ("auto", "sdpa", "flash_attention_2", "eager")),
        "train.method": (config.train.method, ("full", "lora", "qlora")),
        "eval.backend": (config.eval.backend, BACKENDS),
        "eval.judge.name": (config.eval.judge.name, JUDGES),
        "eval.bias_formula": (config.eval.bias_formula, BIAS_FORMULAS),
        "tracking.mode": (config.tracking.mode, ("auto", "online", "offline", "disabled")),
    }
    if "/" not in config.eval.toxicity_scorer:  # else a model by folder or hub id
        choices["eval.toxicity_scorer"] = (config.eval.toxicity_scorer, SCORERS)
    if config.score.guard.name:
        choices["score.guard.name"] = (config.score.guard.name, GUARDS)
    for name, schedule in _schedules(config):
        choices[f"{name}.schedule"] = (schedule.schedule, ("constant", "linear", "cosine"))
    if config.mixture:
        choices["mixture.kind"] = (config.mixture.kind, ("bias", "toxicity", "harmfulness"))
        choices["mixture.control_from"] = (config.mixture.control_from, ("tasks", "kind", "both"))
    for number, model in enumerate(config.eval.models):
        choices[f"eval.models[{number}]"] = (model, ("base", "noisy", "safe", "refit"))
    for number, suite in enumerate(config.eval.suites):
        choices[f"eval.suites[{number}]"] = (suite, SUITES)
    for key, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{key} cannot be {value!r}{nearest(str(value), known)}")


def _check_numbers(config: Config) -> None:
    positive: dict[str, float] = {
        "train.lora.r": config.train.lora.r,
        "train.lora.alpha": config.train.lora.alpha,
        "train.micro_batch_tokens": config.train.micro_batch_tokens,
        "score.batch_tokens": config.score.batch_tokens,
        "score.gradient_dimensions": config.score.gradient_dimensions,
        "score.guard.batch": config.score.guard.batch,
        "score.shard_rows": config.score.shard_rows,
        "score.max_new_tokens": config.score.max_new_tokens,
        "score.generation_batch": config.score.generation_batch,
        "eval.max_new_tokens": config.eval.max_new_tokens,
        "eval.generation_batch": config.eval.generation_batch,
        "eval.samples": config.eval.samples,
        "eval.temperature": config.eval.temperature,
        "eval.top_p": config.eval.top_p,
        "eval.judge.batch": config.eval.judge.batch,
        "eval.judge.parallel": config.eval.judge.parallel,
        "eval.judge.timeout": config.eval.judge.timeout,
        "launch.processes": config.launch.processes,
        "launch.nodes": config.launch.nodes,
    }
    shares = {"train.lora.dropout": config.train.lora.dropout, "filter.quantile": config.filter.quantile}
    shares["eval.top_p"] = config.eval.top_p
    shares["eval.judge.max_missing"] = config.eval.judge.max_missing
    shares["data.probe_share"] = config.data.probe_share
    shares |= {f"filter.{key}": getattr(config.filter, key) for key in ("max_false_drop", "confidence", "min_found")}
    if config.filter.fdr is not None:
        shares["filter.fdr"] = config.filter.fdr
    shares |= {f"filter.source_budget.{name}": share for name, share in config.filter.source_budget.items()}
    not_negative: dict[str, float] = {
        "filter.top_k": config.filter.top_k,
        "eval.lm_eval.limit": config.eval.lm_eval.limit,
        "eval.lm_eval.num_fewshot": config.eval.lm_eval.num_fewshot or 0,
        "eval.judge.budget": config.eval.judge.budget,
        "eval.judge.retries": config.eval.judge.retries,
        "launch.threads": config.launch.threads,
        "train.checkpoint_steps": config.train.checkpoint_steps,
        "seed": config.seed,
    }
    for name, schedule in _schedules(config):
        positive |= {f"{name}.{k}": getattr(schedule, k) for k in ("epochs", "lr", "batch_size")}
        shares[f"{name}.warmup_share"] = schedule.warmup_share
        not_negative |= {f"{name}.{k}": getattr(schedule, k) for k in ("weight_decay", "max_grad_norm")}
    if config.mixture:
        positive["mixture.size"] = config.mixture.size
        positive["mixture.safe_size"] = config.mixture.safe_size
        shares["mixture.unsafe_share"] = config.mixture.unsafe_share
        not_negative |= {f"mixture.{k}": getattr(config.mixture, k) for k in MIXTURE_COUNTS}
    not_negative |= {f"{key}.limit": source.limit for key, source in _sources(config).items()}
    if config.data.max_length < 2:  # one token before the answer, and one of it
        raise UserError(f"data.max_length must be at least 2, got {config.data.max_length}")
    _require({"filter.phi": config.filter.phi}, math.isfinite, "must be a number")
    _require(positive, lambda value: 0 < value < math.inf, "must be positive")
    _require(shares, lambda value: 0 <= value <= 1, "must be between 0 and 1")
    _require(not_negative, lambda value: 0 <= value < math.inf, "must not be negative")


def _require(values: dict[str, Any], holds: Any, message: str) -> None:
    for key, value in values.items():
        if not holds(value):  # false for NaN too
            raise UserError(f"{key} {message}, got {value}")


def _schedules(config: Config) -> list[tuple[str, ScheduleConfig]]:
    found = [(f"train.{name}", getattr(config.train, name)) for name in ("noisy", "safe", "control", "refit")]
    return [(name, schedule) for name, schedule in found if schedule]


def _sources(config: Config) -> dict[str, SourceConfig]:
    """Every source by its key."""
    named = {
        "data.noisy": config.data.noisy,
        "data.safe": config.data.safe,
        "data.probes": config.data.probes,
        "data.control": config.data.control,
        "eval.data": config.eval.data,
    }
    found = {f"{key}.{name}": source for key, sources in named.items() for name, source in sources.items()}
    if config.eval.judge.calibration:
        found["eval.judge.calibration"] = config.eval.judge.calibration
    if config.mixture:
        for kind in ("pools", "tasks"):
            pools: dict[str, PoolConfig] = getattr(config.mixture, kind)
            found |= {f"mixture.{kind}.{name}.source": pool.source for name, pool in pools.items()}
    return found
