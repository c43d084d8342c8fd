"""How a model writes a plain answer: greedily, from where a learned answer begins to where it ends, and without the
model's own settings. Evaluation, scoring and lm-evaluation-harness all ask in this way. Nothing here imports torch."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from forgetfilter.data.rendering import learned_end, learned_opening
from forgetfilter.errors import UserError
from forgetfilter.process.progress import console

T = TypeVar("T")
# Entries of a generation_config that say how to sample (plain answers are greedy), where to end, or change no answer.
HARMLESS = {
    "eos_token_id", "pad_token_id", "bos_token_id", "do_sample", "temperature", "top_p", "top_k", "max_length",
    "max_new_tokens", "transformers_version", "use_cache", "cache_implementation", "_from_model_config",
    "output_attentions", "output_hidden_states", "return_dict_in_generate",
}  # fmt: skip


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the learned end, the tokenizer's EOS, and those of the model."""
    learned = _of_the_template(learned_end, tokenizer, tokenizer.eos_token_id)
    return sorted({learned, tokenizer.eos_token_id, *own_ends(model)})


def opening(tokenizer: Any) -> str:
    """The beginning of every answer that is learned from the chat template; it is no part of the answer's text."""
    return _of_the_template(learned_opening, tokenizer, "")


def _of_the_template(ask: Callable[[Any], T], tokenizer: Any, otherwise: T) -> T:
    """A fact of the template's text around an answer; `otherwise` for a template that takes no answers, as a
    guard's."""
    try:
        return ask(tokenizer)
    except UserError:
        return otherwise


def own_ends(model: Any) -> list[int]:
    """The end tokens of the model's generation_config."""
    own = getattr(model, "generation_config", None)
    given = own.eos_token_id if own is not None else None
    return given if isinstance(given, list) else [] if given is None else [given]


def learn_end(model: Any, tokenizer: Any) -> None:
    """Has a model that is saved end its answers by what it learned, wherever it is loaded: its configs name that end.

    The learned end comes first, as in Llama 3's own configs, and the ends that the model had before stay.
    """
    ends = list(dict.fromkeys([learned_end(tokenizer), *own_ends(model)]))
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None:
            config.eos_token_id = ends if len(ends) > 1 else ends[0]


@contextlib.contextmanager
def by_own_settings(model: Any, config: Any) -> Iterator[None]:
    """While it lasts, the model's generation_config is `config`: transformers takes from there what a call leaves out,
    such as a repetition penalty, suppressed or forced tokens, and the answers would not be plain greedy ones."""
    holders = {id(one): one for one in (model, _inner(model)) if hasattr(one, "generation_config")}.values()
    before = [one.generation_config for one in holders]
    for one in holders:
        one.generation_config = config
    try:
        yield
    finally:
        for one, own in zip(holders, before):
            one.generation_config = own


def left_out(model: Any) -> list[str]:
    """The names in the model's generation_config that change answers, and that evaluation and scoring leave out."""
    own = getattr(model, "generation_config", None)
    changed = own.to_diff_dict() if own is not None else {}
    return sorted(key for key, value in changed.items() if key not in HARMLESS and value not in (None, [], {}))


def say_left_out(model: Any, what: str) -> None:
    """Prints a line the first time that it is given."""
    if names := left_out(model):
        _say_once(f"{what}: answers are plain; of the model's generation_config are left out: {', '.join(names)}")


def _inner(model: Any) -> Any:
    """The transformers model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@functools.cache
def _say_once(line: str) -> None:
    console.print(line)


def plain_settings(model: Any, tokenizer: Any, max_new_tokens: int | None = None) -> Any:
    """The generation_config of greedy decoding up to the answer's end. With None the caller bounds the length."""
    import transformers

    kind: Any = transformers.GenerationConfig
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return kind(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_tokens(model, tokenizer),
        pad_token_id=pad,
    )
