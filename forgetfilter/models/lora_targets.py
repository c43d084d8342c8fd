"""Which layers of a model get an adapter: those that the config names, or the default of its architecture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from forgetfilter.config.schema import LoraConfig
from forgetfilter.errors import UserError
from forgetfilter.process.progress import console

if TYPE_CHECKING:
    import peft

ALL = "all-linear"  # every layer with a weight matrix but the output layer
DEFAULT = ("q_proj", "v_proj")  # the paper's choice: queries and values
KEY = "train.lora.target_modules"
# For models in which queries, keys and values are one matrix or have other names; the first one present is taken
OTHERS = (("query_key_value",), ("c_attn",), ("qkv_proj",), ("Wqkv",), ("query", "value"), ("q_lin", "v_lin"))


def target_modules(model: torch.nn.Module, wanted: Sequence[str], say: bool = True) -> list[str] | str:
    """The names that peft is given. Raises UserError where one of the config's names is in no layer that can have an
    adapter, since peft ignores such a name beside one that is."""
    if ALL in wanted:
        if len(wanted) > 1:
            raise UserError(f"{KEY}: {ALL} stands for all layers, so it stands alone, got {', '.join(wanted)}")
        return ALL
    names = adaptable(model)
    found = {name: [own for own in names if own == name or own.endswith(f".{name}")] for name in wanted}
    if not any(found.values()) and tuple(wanted) == DEFAULT:
        return _by_architecture(names, say)
    if lacking := [name for name, layers in found.items() if not layers]:
        raise UserError(f"{KEY}: {', '.join(lacking)} not in the model; its layers: {_last_parts(names)}")
    return list(wanted)


def adapter_config(model: torch.nn.Module, lora: LoraConfig, say: bool = True) -> "peft.LoraConfig":
    """peft's settings of the adapter for a model. UserError where it lacks a layer that is named."""
    import peft

    options: dict[str, Any] = {"target_modules": target_modules(model, lora.target_modules, say)}
    options |= {"r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    return peft.LoraConfig(**options, task_type="CAUSAL_LM")


def adaptable(model: Any) -> list[str]:
    """The full names of the layers that can have an adapter, but the output layer's."""
    from transformers.pytorch_utils import Conv1D

    output, layers = model.get_output_embeddings(), model.named_modules()
    return [name for name, one in layers if isinstance(one, torch.nn.Linear | Conv1D) and one is not output]


def _by_architecture(names: Sequence[str], say: bool) -> list[str]:
    """The default for a model whose layers have other names than the paper's. `say` has it told in one line."""
    last = {name.rsplit(".", 1)[-1] for name in names}
    chosen = next((list(one) for one in OTHERS if last.issuperset(one)), None)
    if chosen is None:
        raise UserError(f"{KEY}: {', '.join(DEFAULT)} not in the model; its layers: {_last_parts(names)}, or {ALL}")
    if say:
        console.print(f"{KEY}: the model has no {' and '.join(DEFAULT)}, so {', '.join(chosen)} get the adapter")
    return chosen


def _last_parts(names: Sequence[str]) -> str:
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
