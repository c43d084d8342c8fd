"""What a model folder is: the hash of the files that are read from it, whatever the folder is called."""

import json
from collections.abc import Callable
from pathlib import Path

from forgetfilter.files import locked, sha256_file, sha256_value, write_json

READ = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")  # endings of all that a library reads


def weights_hash(folder: Path, cache: Path) -> str:
    """sha256 over weights, their index, and configs: a state of the run's model, whose tokenizer is named beside it."""
    return _hash(folder, cache, _is_weight)


def folder_hash(folder: Path, cache: Path) -> str:
    """sha256 over all that is read from a model folder: weights and configs, tokenizer and chat template."""
    return _hash(folder, cache, lambda path: path.suffix in READ)


def _is_weight(path: Path) -> bool:
    return path.suffix == ".safetensors" or path.name.endswith(("config.json", ".index.json"))


def _hash(folder: Path, cache: Path, wanted: Callable[[Path], bool]) -> str:
    """Remembered, since 7B take a minute: by path, size, both times and the file's number. Writers can set the time of
    change of a content, but not the one of a file's entry, and a file that is moved into place has another number."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and wanted(path))
    seen = [(path, path.stat()) for path in files]
    stats = [[path.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for path, s in seen]
    memory = cache / "hashes" / f"{sha256_value([str(folder.resolve()), stats])}.json"
    with locked(memory):  # a node's ranks would all read all of it
        if not memory.exists():
            write_json(memory, sha256_value([[path.name, sha256_file(path)] for path in files]))
    return str(json.loads(memory.read_text()))
