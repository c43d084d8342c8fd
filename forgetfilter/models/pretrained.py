"""The only way to the loaders of transformers and peft: no foreign code, only safetensors, and no invented weights.

The libraries fill a missing weight at random and leave out a weight that no layer takes, with no more than a warning.
Here both are refused by name, and whatever else a library raises over a foreign file becomes one line.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from forgetfilter.errors import Stopped, UserError, reason
from forgetfilter.files import disk_trouble
from forgetfilter.models.model_folder import check_adapter_folder, check_folder, listed, tensor_names

OURS = (UserError, Stopped, torch.OutOfMemoryError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextlib.contextmanager
def as_user_error(message: str) -> Iterator[None]:
    """Turns whatever a library raises over a foreign file into a UserError. There are dozens of unrelated types, and
    the panics of tokenizers are not even an Exception."""
    try:
        yield
    except OURS:
        raise
    except BaseException as error:
        if disk_trouble(error):
            raise
        raise UserError(f"{message}: {reason(error)}") from error


def load_model(auto: str, folder: Path, key: str, unread: Collection[str] = (), **options: Any) -> Any:
    """A model by the class of transformers that `auto` names, such as AutoModelForCausalLM.

    `unread`: parts of a model whose output nobody reads, such as pooler: their weights may be missing or too many.
    UserError, with the config's key, where the folder is not exactly what the model needs.
    """
    import transformers

    check_folder(folder, key)
    with as_user_error(f"{key}: {folder} cannot be loaded"):
        model, info = getattr(transformers, auto).from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the names are told below
            **options,
        )
    faults = {
        "lacks weights": _read(info["missing_keys"], unread),
        "has weights of other sizes than its config says": [str(name) for name, *_ in info["mismatched_keys"]],
        "has weights that its model does not take": _read(info["unexpected_keys"], unread),
    }
    for fault, names in faults.items():
        if names:
            raise UserError(f"{key}: {folder} {fault}: {listed(names)}; its files do not belong together")
    return model


def described_model(config: Any, attention: str, dtype: str) -> Any:
    """A causal language model as its config describes it, with new weights on torch's current device."""
    import transformers

    kind: Any = transformers.AutoModelForCausalLM
    return kind.from_config(config, attn_implementation=attention, dtype=getattr(torch, dtype), trust_remote_code=False)


def _read(names: Collection[str], unread: Collection[str]) -> list[str]:
    return [name for name in names if not set(name.split(".")) & set(unread)]


def load_config(folder: Path, key: str) -> Any:
    """The model's config. Raises UserError where transformers knows no such model."""
    from transformers import AutoConfig

    with as_user_error(f"{key}: {folder} cannot be loaded"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def load_plain_tokenizer(folder: Path, key: str) -> Any:
    """The tokenizer, unchanged. Raises UserError where there is none."""
    from transformers import AutoTokenizer

    with as_user_error(f"{key}: {folder} has no usable tokenizer"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_adapter(model: Any, folder: Path, key: str, trainable: bool = False) -> Any:
    """The model with the adapter on it. Raises UserError where the adapter is not whole, or of another model."""
    import peft

    check_adapter_folder(folder, key)
    with as_user_error(f"{key}: the adapter {folder} cannot be loaded"):
        adapted = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable, use_safetensors=True)
    wanted = set(peft.get_peft_model_state_dict(adapted))
    stored = tensor_names(folder / "adapter_model.safetensors", key)
    if wanted != stored:
        raise UserError(
            f"{key}: the adapter {folder} is not of this model, or not whole: it differs in {listed(wanted ^ stored)}"
        )
    return adapted
