"""What each stage left behind, file by file with its sum: sums/STAGE.json of a run folder, written before `done` is.

A file counts as unchanged where its size, both times and number on the disk are; else it is read and its sum compared,
so that a run folder that was copied is read once. `verify` reads all of it. A stage whose files are all gone was
cleared away on purpose; one that lacks some, or has others, is damaged.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError, printable
from forgetfilter.files import read_json, sha256_file, sha256_value, stamp, write_json
from forgetfilter.storage.results import read_state

FOLDER = "sums"
Record = dict[str, list[Any]]  # path below the run folder: sha256, size, mtime_ns, ctime_ns, inode


def record(run: Path, stage: str, made: Sequence[str], without: Sequence[str] = ()) -> None:
    """Notes the files below the paths that a stage has `made`, except those below `without`."""
    before, found = _read(run, stage), Record()
    for path in _files(run, made, without):
        name = str(path.relative_to(run))
        stats = stamp(path)
        known = before.get(name)
        found[name] = known if known and known[1:] == stats else [sha256_file(path), *stats]
    write_json(run / FOLDER / f"{stage}.json", found)


def damaged(run: Path, stage: str, thoroughly: bool = False) -> list[str]:
    """The files of a stage that are gone or not as it left them; none without a record, or where all are gone. A record
    that cannot be read is itself such a file.

    `thoroughly`: reads every file, also one that looks untouched.
    """
    known = _whole(run, stage)
    if known is None:  # nothing vouches for the stage's files
        return [f"{FOLDER}/{stage}.json"]
    lost = [name for name in known if not (run / name).is_file()]
    if len(lost) == len(known):
        return []
    gone = {*lost}
    seen = {name: stamp(run / name) for name in known if name not in gone}
    doubtful = [name for name, stats in seen.items() if thoroughly or known[name][1:] != stats]
    changed = [name for name in doubtful if sha256_file(run / name) != known[name][0]]
    if doubtful and not changed and not lost and not thoroughly:  # copied or touched: not read again the next time
        with contextlib.suppress(UserError):  # a folder that may only be read is read again
            write_json(run / FOLDER / f"{stage}.json", {name: [known[name][0], *stats] for name, stats in seen.items()})
    return lost + changed


def recorded(run: Path) -> list[str]:
    """The stages that have a record."""
    return sorted(path.stem for path in (run / FOLDER).glob("*.json"))


def hashes(run: Path, stage: str) -> dict[str, str]:
    """{path below the run folder: sha256} of the files that a stage left; empty without a record."""
    return {name: entry[0] for name, entry in _read(run, stage).items()}


def check(run: Path, stage: str, editable: Sequence[str] = ()) -> list[str]:
    """Those of the `editable` files of a finished stage that a person has changed; UserError for another one that is
    damaged, since whoever asks would read it."""
    if read_state(run).get(stage, {}).get("status") != "done":
        return []
    changed = damaged(run, stage)
    if wrong := [name for name in changed if name not in editable]:
        raise UserError(f"{run / wrong[0]} is not as {stage} left it: forgetfilter run {run} makes it again")
    return changed


def sha256(run: Path, name: str) -> str:
    """The sum of a file below the run folder: the noted one where the file is as it was then, or else of what is
    there."""
    path = run / name
    entries = (_read(run, stage).get(name) for stage in recorded(run))
    known = next((entry for entry in entries if entry), None)
    return str(known[0]) if known and known[1:] == stamp(path) else sha256_file(path)


def weights(run: Path, stage: str) -> str | None:
    """The identity of the weights that a stage left, by its record; None without any."""
    found = {name: one for name, one in hashes(run, stage).items() if name.endswith(".safetensors")}
    return sha256_value(found) if found else None


def read_other_weights(run: Path, reader: str, stage: str) -> bool:
    """Whether the stage `reader` was done with other weights than those that `stage`, which is done, has left now."""
    state = read_state(run)
    read = state.get(reader, {})
    noted, now = read.get("read", {}).get(stage), weights(run, stage)
    # where nobody noted the weights, as in an older run, the clock has to do, which may have been set back
    by_clock = bool(read) and read["start"] < state[stage]["start"]
    return noted != now if noted and now else by_clock


def checked(run: Path) -> dict[str, Any]:
    """Reads every file that has a sum: {"files": how many, "stages": of which stages, "unchecked": the stages without
    sums, "wrong": [{"file", "stage", "gone"}]}."""
    stages = recorded(run)
    wrong = [(stage, name) for stage in stages for name in damaged(run, stage, thoroughly=True)]
    return {
        "files": sum(len(_read(run, stage)) for stage in stages),
        "stages": stages,
        "unchecked": [name for name in read_state(run) if name not in stages and name != "report"],
        "wrong": [{"file": name, "stage": stage, "gone": not (run / name).exists()} for stage, name in wrong],
    }


def verify(run: Path, as_json: bool = False) -> list[str]:
    """What `checked` found, in lines or as one line of JSON. UserError where a file is gone or changed, once each of
    them was printed."""
    found = checked(run)
    how = {True: "gone since", False: "not as"}
    wrong = [f"{printable(one['file'])}: {how[one['gone']]} {one['stage']} left it" for one in found["wrong"]]
    without = [f"{stage}: no sums were noted, so its files are not checked" for stage in found["unchecked"]]
    told = [json.dumps(found)] if as_json else wrong
    if wrong:
        print("\n".join(told))
        way = f"forgetfilter run {run} makes them again; delete filter/kept.jsonl first where it was edited"
        raise UserError(f"{run}: {len(wrong)} files are not as they were made: {way}")
    whole = f"{found['files']} files of {len(found['stages'])} stages are as they were made"
    return told if as_json else [*without, whole]


def _read(run: Path, stage: str) -> Record:
    """The record of a stage; empty where there is none, or none that can be read."""
    return _whole(run, stage) or {}


def _whole(run: Path, stage: str) -> Record | None:
    """The record of a stage; empty where there is none, and None where it is cut or garbled."""
    path = run / FOLDER / f"{stage}.json"
    try:
        found = read_json(path) if path.exists() else {}
    except UserError:
        return None
    whole = isinstance(found, dict) and all(isinstance(entry, list) and len(entry) == 5 for entry in found.values())
    return found if whole else None


def _files(run: Path, made: Sequence[str], without: Sequence[str]) -> Iterator[Path]:
    aside = [run / name for name in without]
    for name in made:
        path = run / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (one for one in files if one.is_file() and not any(one.is_relative_to(other) for other in aside))
