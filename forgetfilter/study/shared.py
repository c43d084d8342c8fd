"""Stages that members of a study share: what one of them has made from the same inputs, the next takes over.

The inputs' hash decides, and nothing else: two members that train on the same rows by the same settings train once,
whatever else they differ in. Files are linked (copied where the disk cannot link), so that every member is a whole run
folder of its own; they are only ever replaced, never written into.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forgetfilter.storage.results import read_state
from forgetfilter.storage.stage import Stage

SCRATCH = ".shared"


def find(stage: Stage, input_hash: str, foreign: object, peers: Iterable[Path]) -> tuple[Path, dict[str, Any]] | None:
    """The run folder that has this stage done with these inputs, and its entry in state.json; None without one."""
    for peer in peers if stage.folder else ():
        entry = read_state(peer).get(stage.name, {})
        same = entry.get("input_hash") == input_hash and entry.get("foreign") == foreign
        whole = all((peer / file).exists() for file in (stage.folder, *stage.files))
        if same and entry.get("status") == "done" and whole:
            return peer, entry
    return None


def link(source: Path, target: Path, scratch: Path) -> None:
    """Puts a folder's files at `target` too, all of them at once; `scratch` lies on the same disk, and is gone then."""
    shutil.rmtree(scratch, ignore_errors=True)
    left_out = shutil.ignore_patterns("checkpoints", ".*")
    shutil.copytree(source, scratch, copy_function=_link, ignore=left_out)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
