"""The identity of a model folder: the hash of the files that are read from it, whatever its name."""

import json
from collections.abc import Callable
from pathlib import Path

from forgetfilter.files import locked, sha256_file, sha256_value, stamp, write_json

READ = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")  # endings of all that a library reads


def weights_hash(folder: Path, cache: Path) -> str:
    """sha256 over weights, their index, and configs, for a state of the run's model; its tokenizer is hashed apart."""
    return _hash(folder, cache, _is_weight)


def folder_hash(folder: Path, cache: Path) -> str:
    """sha256 over all that is read from a model folder: weights and configs, tokenizer and chat template."""
    return _hash(folder, cache, lambda path: path.suffix in READ)


def _is_weight(path: Path) -> bool:
    return path.suffix == ".safetensors" or path.name.endswith(("config.json", ".index.json"))


def _hash(folder: Path, cache: Path, wanted: Callable[[Path], bool]) -> str:
    """The hash is remembered, since 7B take a minute, by path and stamp."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and wanted(path))
    stats = [[path.name, *stamp(path)] for path in files]
    memory = cache / "hashes" / f"{sha256_value([str(folder.resolve()), stats])}.json"
    with locked(memory):  # otherwise all ranks of a node would read the whole folder
        if not memory.exists():
            write_json(memory, sha256_value([[path.name, sha256_file(path)] for path in files]))
    return str(json.loads(memory.read_text()))
