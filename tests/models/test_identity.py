import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetfilter.models.identity import folder_hash, weights_hash

Hash = Callable[[Path, Path], str]


def changed(folder: Path, name: str) -> None:
    """One byte of the file in place, with its size and its time of change as they were."""
    file, before = folder / name, (folder / name).stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def moved(folder: Path, name: str) -> None:
    """Another file of the same size and time, moved into place."""
    spare = shutil.copytree(folder, folder.with_name("spare"))
    changed(spare, name)
    os.replace(spare / name, folder / name)


@pytest.mark.parametrize("change", [changed, moved])
@pytest.mark.parametrize(("identity", "name"), [
    (weights_hash, "model.safetensors"), (weights_hash, "config.json"), (weights_hash, "generation_config.json"),
    (folder_hash, "model.safetensors"), (folder_hash, "tokenizer.json"), (folder_hash, "chat_template.jinja"),
    (folder_hash, "tokenizer_config.json"),
])  # fmt: skip
def test_a_file_exchanged_in_place_is_another_model(
    tiny_model: Path, tmp_path: Path, identity: Hash, name: str, change: Callable[[Path, str], None]
) -> None:
    # A file that was exchanged is seen even if its size and time are kept, as rsync and cp -p keep them.
    folder, cache = shutil.copytree(tiny_model, tmp_path / "model"), tmp_path / "cache"
    first = identity(folder, cache)
    assert identity(folder, cache) == first
    change(folder, name)
    assert identity(folder, cache) != first


def test_all_that_is_read_counts_and_nothing_else(tiny_model: Path, tmp_path: Path) -> None:
    # The index of a model in several files and tokenizers of every kind count; notes beside them and the path do not.
    folder, cache = shutil.copytree(tiny_model, tmp_path / "model"), tmp_path / "cache"
    seen = [folder_hash(folder, cache)]
    for name in ("model.safetensors.index.json", "tokenizer.model", "vocab.txt", "merges.txt", "added_tokens.json"):
        (folder / name).write_text("{}")
        seen.append(folder_hash(folder, cache))
    assert len(set(seen)) == 6
    (folder / "README.md").write_text("notes")
    assert folder_hash(folder.rename(tmp_path / "other"), cache) == seen[-1]


def test_the_identity_of_weights_is_what_it_was(tmp_path: Path) -> None:
    # The identity is golden, so that runs made before stay done: sha256 of [[name, sha256 of content], ...].
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "config.json").write_bytes(b"{}")
    (tmp_path / "model" / "tokenizer.json").write_bytes(b"{}")
    found = weights_hash(tmp_path / "model", tmp_path / "cache")
    assert found == "fcac31d289f587c97cad43adfe3278450e0a11790f46713cc7204d602aa22832"
