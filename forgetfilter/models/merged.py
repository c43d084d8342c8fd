"""A finetuned model as one that another run can start from: the adapter merged into its base, as a model folder."""

from pathlib import Path
from typing import Any

import torch

from forgetfilter.files import atomic_folder, locked
from forgetfilter.models.loading import is_adapter, load_base
from forgetfilter.models.pretrained import load_adapter
from forgetfilter.models.settings import ModelSettings


def write_merged(model: ModelSettings, trained: Path, target: Path) -> None:
    """Writes `trained` (an adapter of the model, or a whole model) with the model's tokenizer to `target`, whole or not
    at all; what is there stays.

    Merged in float32, into the base as it is published: an adapter of QLoRA was trained on the 4-bit base, and its
    merged model answers a little otherwise.
    """
    with locked(target):
        if (target / "config.json").exists():
            return
        with atomic_folder(target) as temporary:
            merged(model, trained).save_pretrained(temporary)
            model.tokenizer().save_pretrained(temporary)


def merged(model: ModelSettings, trained: Path, as_trained: bool = False) -> Any:
    """The model on the CPU in float32. `as_trained`: an adapter of QLoRA is merged into the values that its 4-bit base
    stands for, which it was trained and measured on, rather than into the base as it is published."""
    cpu = torch.device("cpu")
    attention = model.on(cpu).attention
    if not is_adapter(trained):
        return load_base(trained, "float32", attention, cpu)
    base: Any
    if as_trained and model.four_bit:
        base = load_base(model.base().path, model.on(cpu).dtype, attention, cpu, four_bit=True)
        base = base.dequantize().float()
    else:
        base = load_base(model.base().path, "float32", attention, cpu)
    return load_adapter(base, trained, "model.name").merge_and_unload()
