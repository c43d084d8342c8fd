"""The settings of the released model M0, by which the stages name it before anything is loaded.

torch is imported only where a device is asked for, so that a stage which is done already starts without it.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetfilter.config.schema import Config, ModelConfig
from forgetfilter.models.chat_template import template_hash

if TYPE_CHECKING:
    import torch

    from forgetfilter.models.loading import ModelRef
    from forgetfilter.models.numerics import Numerics


@dataclass(frozen=True)
class ModelSettings:
    """The settings of the model; `on` says what its `auto` stands for."""

    name: str
    revision: str | None
    chat_template: str | None
    """The user's Jinja file."""
    dtype: str
    attention: str
    four_bit: bool
    """Whether its weights are stored in 4 bits: adapters of QLoRA belong to such a base."""
    cache: Path

    @classmethod
    def of(cls, config: Config) -> "ModelSettings":
        model, cache = config.model, Path(config.cache).expanduser()
        four_bit = config.train.method == "qlora"
        return cls(model.name, model.revision, model.chat_template, model.dtype, model.attention, four_bit, cache)

    def inputs(self) -> dict[str, object]:
        """The section `model` as an input of a stage: the chat template by what it says, not by where it lies."""
        section = {field.name: getattr(self, field.name) for field in fields(ModelConfig)}
        return section | {"chat_template": template_hash(self.chat_template)}

    def base(self) -> "ModelRef":
        """The model on disk, fetched or converted if need be. Raises UserError where it is not found."""
        return self._resolved

    @cached_property
    def _resolved(self) -> "ModelRef":  # only once, since each call asks the hub
        from forgetfilter.models.loading import resolve

        return resolve(self.name, self.revision, self.cache)

    def tokenizer(self) -> Any:
        from forgetfilter.models.loading import load_tokenizer

        return load_tokenizer(self.base().path, self.chat_template)

    def plain_dtype(self, device: "torch.device") -> str:
        """The dtype of another model that is loaded as it is, such as a guard."""
        from forgetfilter.models.numerics import compute_dtype

        return compute_dtype(self.dtype, device)

    def on(self, device: "torch.device") -> "Numerics":
        """UserError for an attention that the device or the model does not have."""
        from forgetfilter.models.numerics import Numerics, attention_backend, compute_dtype

        dtype = compute_dtype(self.dtype, device, self.four_bit)
        attention = attention_backend(self.attention, device, self.base().path, dtype)
        return Numerics(dtype, attention, device, self.four_bit)
