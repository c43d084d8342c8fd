"""Files of a run folder that are not as they were made, where no sum tells: each is one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from forgetfilter.train.refit_rows import write_refit_rows
from malformed.one_line import one_line

from forgetfilter.data.records import make_records, read_records, write_records
from forgetfilter.storage import review
from forgetfilter.storage.results import read_decisions, read_dropped, read_metrics, read_state, read_summary
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import (
    COMPARABLE,
    LOSS_SCHEMA,
    check_comparable,
    merged,
    read_manifest,
    shard_path,
    write_manifest,
    write_shard,
)

GARBAGE = {"empty": b"", "cut": b'{"a": {"b"', "a list": b"[1]", "a number": b"7", "no UTF-8": b'{"a": "\xff"}'}
DEEP = {"nested deep": b"[" * 100_000}
JSON_FILES: dict[str, Callable[[Path], Any]] = {
    "state.json": read_state,
    "filter/summary.json": read_summary,
    "signals/before/manifest.json": lambda run: read_manifest(run / "signals" / "before"),
    "eval/base/task/metrics.json": read_metrics,
}


@pytest.mark.parametrize("kind", [*GARBAGE, *DEEP])
@pytest.mark.parametrize("name", JSON_FILES)
def test_a_json_file_of_a_run_that_is_garbage(tmp_path: Path, name: str, kind: str) -> None:
    # One line names the file wherever it is read.
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((GARBAGE | DEEP)[kind])
    assert str(file) in one_line(lambda: JSON_FILES[name](tmp_path))


def test_a_state_whose_entries_are_none(tmp_path: Path) -> None:
    # A state in which a stage has no object is refused with what to do.
    (tmp_path / "state.json").write_text('{"mix": "done"}')
    assert "delete it to do all stages anew" in one_line(lambda: read_state(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "data.noisy is empty"),
        (b"[1]", "must hold keys and values"),
        (b"name: [", "is not valid YAML"),
        (b"nosuch: 1\n", "nosuch"),
        (b"\xff", "is not valid YAML"),
    ],
)
def test_a_config_of_a_run_that_is_garbage(tmp_path: Path, content: bytes, said: str) -> None:
    # Each kind of garbage gives one line, and an empty config lacks the data.
    (tmp_path / "config.yaml").write_bytes(content)
    assert said in one_line(lambda: Run.open(tmp_path))


GOOD = '{"id": "a", "messages": [{"role": "assistant", "content": "x"}], "source": "s"}'
LINES = {
    "cut": GOOD[:40],
    "empty": "",
    "a list": "[1]",
    "no id": GOOD.replace('"id"', '"di"'),
    "an id that is a number": GOOD.replace('"a"', "1", 1),
    "no messages": GOOD.replace("messages", "text"),
    "messages that are a text": json.dumps({"id": "a", "messages": "x", "source": "s"}),
    "no message": json.dumps({"id": "a", "messages": [], "source": "s"}),
    "a message without a role": GOOD.replace("role", "rule"),
    "a content that is a number": GOOD.replace('"x"', "7"),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_of_kept_rows_that_a_person_broke(tmp_path: Path, kind: str) -> None:
    # The refit and every reader of records name the line, and the refit's rows are not half-written.
    paths = RunPaths(tmp_path)
    paths.kept_data.parent.mkdir()
    paths.kept_data.write_text(f"{GOOD}\n{LINES[kind]}\n")
    for work in (lambda: list(read_records(paths.kept_data)), lambda: write_refit_rows(paths, "kept")):
        assert f"{paths.kept_data} line 2: no whole record" in one_line(work)
    assert not paths.refit_data.exists()


def losses(folder: Path, ids: list[str], rank: int = 0) -> None:
    rows = [
        {"id": i, "source": "s", "num_tokens": 1, "loss_sum": 1.0, "rank": rank, "step": 0, "epoch": 0} for i in ids
    ]
    write_shard(shard_path(folder, rank, 0), pa.Table.from_pylist(rows, schema=LOSS_SCHEMA))


def emptied(folder: Path) -> None:
    shard_path(folder, 0, 0).write_bytes(b"")


def cut(folder: Path) -> None:
    file = shard_path(folder, 0, 0)
    file.write_bytes(file.read_bytes()[:-8])


def deleted(folder: Path) -> None:
    shard_path(folder, 0, 0).unlink()


def exchanged(folder: Path) -> None:
    losses(folder, ["a", "d"])


def doubled(folder: Path) -> None:
    losses(folder, ["a"], rank=1)


SHARDS: list[tuple[Callable[[Path], None], str]] = [
    (emptied, "is truncated or not Parquet"),
    (cut, "is truncated or not Parquet"),
    (deleted, "has no shards"),
    (exchanged, "no row for 1 ids (b)"),
    (doubled, "1 ids (a) logged more than once"),
]


@pytest.mark.parametrize(("change", "said"), SHARDS, ids=[change.__name__ for change, _ in SHARDS])
def test_shards_that_are_not_whole(tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    # Every id is proven to be there once, or one line says what is wrong.
    losses(tmp_path, ["a", "b"])
    change(tmp_path)
    assert said in one_line(lambda: merged(tmp_path, ["a", "b"]))


@pytest.mark.parametrize("key", COMPARABLE)
def test_scorings_of_other_things_are_not_compared(tmp_path: Path, key: str) -> None:
    # The line names what differs.
    write_manifest(tmp_path / "before", dict.fromkeys(COMPARABLE, "same"))
    write_manifest(tmp_path / "after", dict.fromkeys(COMPARABLE, "same") | {key: "other"})
    said = one_line(lambda: check_comparable(tmp_path / "before", tmp_path / "after"))
    assert f"cannot be compared: {key} is 'same' and 'other'" in said


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_decisions_that_are_not_whole(tmp_path: Path, content: bytes | None) -> None:
    # Decisions that are cut, of another kind or gone are refused with the stage to run.
    (tmp_path / "filter").mkdir()
    if content is not None:
        (tmp_path / "filter" / "decisions.parquet").write_bytes(content)
    assert "run the filter stage again" in one_line(lambda: read_decisions(tmp_path))


@pytest.mark.parametrize("content", [b'{"id": ', b"\xff\n", None])
def test_dropped_rows_that_are_not_whole(tmp_path: Path, content: bytes | None) -> None:
    # Dropped rows that are cut, no text or gone are refused with the stage to run.
    (tmp_path / "filter").mkdir()
    if content is not None:
        (tmp_path / "filter" / "dropped.jsonl").write_bytes(content)
    assert "run the filter stage again" in one_line(lambda: list(read_dropped(tmp_path)))


REVIEWS = {
    "empty": (b"", "is empty: delete it"),
    "no UTF-8": (b"\xff", "save it as CSV in UTF-8"),
    "no column keep": (b"id\na\n", "needs the columns id and keep"),
    "another word": (b"id,keep\na,maybe\n", "keep must be yes, no or empty, got 'maybe'"),
    "two words": (b"id,keep\na,yes\na,no\n", "id a is there twice with different words"),
    "an open quote": (b'id,keep\n"a,yes\n', "save it as CSV in UTF-8"),
}


@pytest.mark.parametrize("kind", REVIEWS)
def test_a_review_that_a_spreadsheet_broke(tmp_path: Path, kind: str) -> None:
    # The line says what is wrong, with the row if there is one.
    content, said = REVIEWS[kind]
    (tmp_path / "review.csv").write_bytes(content)
    assert said in one_line(lambda: review.read(tmp_path))


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    # Whole files are read, so the tests above refuse for their reasons alone.
    losses(tmp_path, ["a", "b"])
    assert len(merged(tmp_path, ["a", "b"])) == 2
    records = list(make_records([([{"role": "assistant", "content": "x"}], "s", None)]))
    write_records(tmp_path / "r.jsonl", records)
    assert list(read_records(tmp_path / "r.jsonl")) == records
    assert read_state(tmp_path) == {}
