"""Checks a foreign model folder before any library reads it: it must be whole, without pickles and without code."""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # unpickling them may run any code
WEIGHTS = ("pytorch_model", "adapter_model", "model", "consolidated")  # the beginning of the name of a file of weights
OBJECTS = ("generation_config.json", "tokenizer_config.json", "tokenizer.json")  # that libraries read where they are
INDEX = "model.safetensors.index.json"
MOST_TOKENS = 2**24  # tokens of a vocabulary; known ones have 2**18
CONVERT = "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW)"


def check_folder(folder: Path, key: str) -> None:
    """UserError where the folder holds no model that can be loaded by reading alone; `key` is the config key."""
    settings = read_object(folder / "config.json", key)
    others = {name: read_object(folder / name, key) for name in OBJECTS if (folder / name).is_file()}
    if code := _own_code(folder, settings, others.get("tokenizer_config.json", {})):
        raise UserError(
            f"{key}: {folder} brings code of its own ({code}), which is never run: take another model, or delete "
            "auto_map from its config.json and tokenizer_config.json where transformers knows the model itself"
        )
    _check_ends(folder, others.get("generation_config.json", {}), key)
    _check_vocabulary(folder, others.get("tokenizer.json", {}), key)
    _check_quantised(folder, settings, check_weights(folder, "model", key), key)


def check_adapter_folder(folder: Path, key: str) -> None:
    """Raises UserError where the folder holds no whole adapter in safetensors."""
    read_object(folder / "adapter_config.json", key)
    check_weights(folder, "adapter_model", key)


def check_weights(folder: Path, stem: str, key: str) -> set[str]:
    """The names of the weights; UserError where they are missing, pickled or cut short."""
    whole, index = folder / f"{stem}.safetensors", folder / INDEX
    if whole.is_file():
        return tensor_names(whole, key)
    if stem == "model" and index.is_file():
        return _check_index(folder, read_object(index, key), key)
    if pickles := sorted(path.name for path in folder.iterdir() if _is_pickle(path)):
        raise UserError(
            f"{key}: {folder} has its weights in {pickles[0]}, a pickle, which may run code: if you trust it, convert "
            f"it to safetensors by transformers' {CONVERT}"
        )
    raise UserError(f"{key}: {folder} holds no weights: there is neither {whole.name} nor its index")


def tensor_names(file: Path, key: str) -> set[str]:
    """The names in a safetensors file, from its header; UserError where the file is cut short or is none."""
    try:
        with open(file, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length)) if 8 + length <= file.stat().st_size else {}
        header.pop("__metadata__", None)
        end = max(entry["data_offsets"][1] for entry in header.values())
        if 8 + length + end != file.stat().st_size:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise UserError(f"{key}: {file} is not whole (cut short, or no safetensors file): fetch it again") from error
    return set(header)


def read_object(file: Path, key: str) -> dict[str, Any]:
    """The JSON object in a file; UserError where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{key}: {file.parent} has no {file.name}, so it is no model folder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{key}: {file} is not valid JSON: fetch it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{key}: {file} holds no JSON object: fetch it again")
    return found


def _check_ends(folder: Path, generation: dict[str, Any], key: str) -> None:
    ends = generation.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if not isinstance(end, int | None) or isinstance(end, bool):
            raise UserError(f"{key}: {folder}/generation_config.json: eos_token_id must be numbers, got {end!r}")


def _check_vocabulary(folder: Path, tokenizer: dict[str, Any], key: str) -> None:
    """Libraries go through all numbers up to the largest."""
    model = tokenizer.get("model")
    known = model.get("vocab") if isinstance(model, dict) else None
    numbers = [number for number in known.values() if isinstance(number, int)] if isinstance(known, dict) else []
    if (largest := max(numbers, default=0)) >= MOST_TOKENS:
        raise UserError(f"{key}: {folder}/tokenizer.json gives a token the number {largest}: fetch it again")


def _check_quantised(folder: Path, settings: dict[str, Any], names: set[str], key: str) -> None:
    """bitsandbytes mistakes plain weights for quantised ones, and fails when they are used."""
    options = settings.get("quantization_config")
    by_bitsandbytes = isinstance(options, dict) and options.get("quant_method") == "bitsandbytes"
    if by_bitsandbytes and not any(".quant_state." in name or name.endswith(".SCB") for name in names):
        raise UserError(
            f"{key}: {folder} has plain weights, but its config.json says that bitsandbytes stored them: delete "
            "quantization_config there, and set train.method=qlora for 4 bits"
        )


def _check_index(folder: Path, index: dict[str, Any], key: str) -> set[str]:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{key}: {folder / INDEX} names no files: fetch it again")
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise UserError(f"{key}: {folder} lacks {name}, which its index names: fetch it again")
        if lost := {tensor for tensor, file in places.items() if file == name} - tensor_names(folder / name, key):
            raise UserError(f"{key}: {folder / name} lacks {listed(lost)}, which its index names: fetch it again")
    return set(places)


def _is_pickle(path: Path) -> bool:
    return path.suffix in PICKLES and path.name.startswith(WEIGHTS)


def _own_code(folder: Path, *configs: dict[str, Any]) -> str | None:
    """The code file in the folder that a config asks for. A config that asks for code elsewhere is passed over, since
    transformers then takes its own class, or knows none."""
    maps = [config.get("auto_map") for config in configs]
    named = [name for one in maps if isinstance(one, dict) for value in one.values() for name in _names(value)]
    files = (name.rsplit("--", 1)[-1].split(".")[0] + ".py" for name in named)
    return next((file for file in files if (folder / file).is_file()), None)


def _names(value: Any) -> Iterable[str]:
    """A tokenizer's entry is a list of two, of which one may be empty."""
    return [name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few names, and how many more there are, for a line of text."""
    all_names = sorted(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more
