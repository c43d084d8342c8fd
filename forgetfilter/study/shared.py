"""Sharing of stages between the members of a study: a member takes over what another made from the same inputs.

Only the hash of the inputs decides. Two members that train on the same rows with the same settings train once, however
else they differ. Files are linked, or copied where the disk cannot link, so that every member has a whole run folder.
This is safe because files of a run folder are replaced and never written into.
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
    """The run folder of a peer that did the stage with these inputs, and its entry in state.json; None without one."""
    for peer in peers if stage.folder else ():
        entry = read_state(peer).get(stage.name, {})
        same = entry.get("input_hash") == input_hash and entry.get("foreign") == foreign
        whole = all((peer / file).exists() for file in (stage.folder, *stage.files))
        if same and entry.get("status") == "done" and whole:
            return peer, entry
    return None


def link(source: Path, target: Path, scratch: Path) -> None:
    """Links a folder's files to `target`, all of them at once, by way of `scratch`, which lies on the same disk."""
    shutil.rmtree(scratch, ignore_errors=True)
    left_out = shutil.ignore_patterns("checkpoints", ".*")
    shutil.copytree(source, scratch, copy_function=_link, ignore=left_out)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # the target is on another disk, or the disk has no links
        shutil.copy2(source, target)
