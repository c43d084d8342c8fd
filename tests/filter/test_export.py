import csv
import errno
import itertools
import json
import os
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter.decide import decide, input_hash
from forgetfilter.filter.decisions import TOO_LONG
from forgetfilter.filter.export import write_export
from forgetfilter.filter.stage import settings as task_of
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.config.schema import Config, DataConfig, FilterConfig, SourceConfig
from forgetfilter.data.original_rows import Original, Originals, find
from forgetfilter.data.records import read_records
from forgetfilter.data.sources import read_originals
from forgetfilter.errors import UserError
from forgetfilter.files import read_json
from forgetfilter.mix.stage import mix
from forgetfilter.report.card import too_long
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import read_manifest, write_manifest

SHAPES = (
    {"messages": [{"role": "user", "content": "q1", "name": "x"}, {"role": "assistant", "content": "a1"}], "k": [1]},
    {"prompt": "q2", "completion": "a2", "weight": 0.5},
    {"instruction": "q3", "input": "", "output": "a3", "source": "forum", "label": "unsafe"},
    {"text": "a4 é\u2028", "meta": {"url": None}},
)


def scored(make_toy: Any, folder: Path, sources: dict[str, SourceConfig], **more: Any) -> Run:
    """A run whose rows come from these sources, row n with a loss rise of n; half of them is dropped."""
    safe = folder / "safe.jsonl"
    safe.write_text('{"text": "safe"}\n')
    data = DataConfig(sources, {"ok": SourceConfig(path=str(safe))}, **more)
    options = FilterConfig(signal="loss_rise", rule="quantile", quantile=0.5)
    run = Run(folder / "run", Config(name="run", output=str(folder), data=data, filter=options))
    mix(run, run.config)
    toy = make_toy([])
    toy.folder = run.folder
    ids = [record.id for record in read_records(run.noisy_data)]
    toy.write_losses("before", [(i, 1, 0.0) for i in ids])
    toy.write_losses("after", [(i, 1, float(n)) for n, i in enumerate(ids)])
    return run


def exported(run: Run, *parts: str) -> list[list[str]]:
    folder = run.folder.joinpath("filter", "export", *parts)
    return [(folder / f"{name}.jsonl").read_bytes().decode().split("\n")[:-1] for name in ("kept", "dropped")]


def test_every_shape_in_its_own_bytes(make_toy: Any, tmp_path: Path) -> None:
    # The lines of a .jsonl file keep their spaces, key order and further fields; blank lines and the byte order mark
    # are left out.
    path, written = tmp_path / "mine.jsonl", [json.dumps(row, indent=None) for row in SHAPES]
    written[1] = '  {"completion" : "a2",  "prompt":"q2", "weight": 5e-1 }\r'
    path.write_bytes(b"\xef\xbb\xbf\n" + "\n \n".join(written).encode())
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    assert decide(task_of(run))["export"] == {"mine": {"kept": 2, "dropped": 2}}
    assert exported(run) == [written[:2], written[2:]]


def test_a_folder_a_source_without_the_probes(make_toy: Any, tmp_path: Path) -> None:
    # Each source has a folder of its own, whose name is no path; rows of a CSV file are objects of texts, and probes
    # are not exported.
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    (tmp_path / "b.csv").write_text("prompt,completion\nq,a\nr,b\n")
    (tmp_path / "p.jsonl").write_text('{"text": "probe"}\n')
    sources = {"../a": SourceConfig(path=str(tmp_path / "a.jsonl")), "b": SourceConfig(path=str(tmp_path / "b.csv"))}
    run = scored(make_toy, tmp_path, sources, probes={"p": SourceConfig(path=str(tmp_path / "p.jsonl"))})
    summary = decide(task_of(run))
    assert summary["export"] == {"../a": {"kept": 3, "dropped": 1}, "b": {"kept": 0, "dropped": 2}}
    assert (summary["kept"], summary["probes"]) == (3, 1)
    assert [[json.loads(line) for line in part] for part in exported(run, "%2E.%2Fa")] == [[*SHAPES[:3]], [SHAPES[3]]]
    rows = [{"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": "b"}]
    assert [json.loads(line) for line in exported(run, "b")[1]] == rows
    assert not (tmp_path / "a").exists()


def test_long_names_of_sources(make_toy: Any, tmp_path: Path) -> None:
    # Two sources with long names, which are too long for file names, have two different folders.
    names = ["語" * 60 + end for end in "ab"]
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps(SHAPES[0] | {"k": name}) + "\n" + json.dumps(SHAPES[1]) + "\n"
        )
    sources = {name: SourceConfig(path=str(tmp_path / f"{name[-1]}.jsonl")) for name in names}
    run = scored(make_toy, tmp_path, sources)
    assert list(decide(task_of(run))["export"]) == names
    assert len(list((run.folder / "filter" / "export").iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_ends_the_decision_and_other_trouble_is_noted(
    make_toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # With a note alone the stage would be done, and the export never made once there is room.
    import forgetfilter.filter.decide as module

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    run = scored(make_toy, tmp_path, {"a": SourceConfig(path=str(tmp_path / "a.jsonl"))})
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_export", full)
        with pytest.raises(OSError, match="No space") if number == errno.ENOSPC else nullcontext():
            assert "Input/output error" in decide(task_of(run))["export_note"]
    assert (run.folder / "filter" / "summary.json").exists() == (number == errno.EIO)
    assert not (run.folder / "filter" / "export").exists()
    assert "export" in decide(task_of(run)) and exported(run)


def test_a_review_is_honoured(make_toy: Any, tmp_path: Path) -> None:
    # A row that a person keeps after all is among the kept rows, in its place.
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    ids = [record.id for record in read_records(run.noisy_data)]
    with open(run.folder / "review.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "keep"], [ids[3], "yes"], [ids[0], "no"]])
    decide(task_of(run))
    assert [[json.loads(line) for line in part] for part in exported(run)] == [
        [SHAPES[1], SHAPES[3]],
        [SHAPES[0], SHAPES[2]],
    ]


def test_a_source_that_changed_is_left_out_and_said(make_toy: Any, tmp_path: Path) -> None:
    # If a source has changed, the decision is made, the note says why there is no export, and that of an earlier
    # decision is removed.
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    decide(task_of(run))
    path.write_text('{"text": "other"}\n')
    summary = decide(task_of(run))
    assert "export" not in summary and summary["dropped"] == 2
    assert "mine.jsonl changed since the mix stage" in summary["export_note"]
    assert not (run.folder / "filter" / "export").exists()
    assert read_json(run.folder / "filter" / "summary.json") == summary


def test_no_export_without_originals(make_toy: Any, four_rows: Any) -> None:
    # A mixture of benchmarks has no original rows, so it has no export.
    toy = make_toy(four_rows)
    assert "export" not in decide(toy.task())
    assert not (toy.folder / "filter" / "export").exists()


text = st.text(st.characters(codec="utf-8"), max_size=5)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
some_rows = st.lists(
    st.tuples(st.dictionaries(text, value, max_size=3), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n \n"])),
    min_size=1,
    max_size=8,
)


@given(
    rows=some_rows,
    ascii_only=st.booleans(),
    kind=st.sampled_from(["jsonl", "json"]),
    block=st.sampled_from([3, 1 << 20]),
)
@settings(max_examples=40, deadline=None)
def test_each_row_exactly_once_and_as_it_came(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, ascii_only: bool, kind: str, block: int
) -> None:
    # For any JSON, blocks of any size and any decision the export has equal values in order, and for a .jsonl file the
    # very bytes.
    folder = tmp_path_factory.mktemp("export")
    given, drop = [row for row, _, _ in rows], np.array([dropped for _, dropped, _ in rows])
    path, texts = folder / f"rows.{kind}", [json.dumps(row, ensure_ascii=ascii_only) for row in given]
    ends = [end for _, _, end in rows]
    path.write_bytes(("".join(map("".join, zip(texts, ends))) if kind == "jsonl" else json.dumps(given)).encode())
    source, originals = SourceConfig(path=str(path)), Originals(folder / "originals")
    assert [row for _, row in originals.keep("mine", source, read_originals(source, "data.noisy.mine"))] == given
    originals.finish(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forgetfilter.data.line_blocks.BLOCK", block)
        write_export(find(folder / "originals", path), drop, np.zeros_like(drop), folder / "out")
    for name, chosen in (("kept", ~drop), ("dropped", drop)):
        out = (folder / "out" / f"{name}.jsonl").read_bytes().decode().split("\n")[:-1]
        assert [json.loads(line) for line in out] == list(itertools.compress(given, chosen))
        if kind == "jsonl":
            lines = [written + end.rstrip("\n ") for written, end in zip(texts, ends)]
            assert out == list(itertools.compress(lines, chosen))


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    # Rows beyond a source's limit were never in the data, so they are not exported.
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"n": 3}')
    drop = np.array([False, True])
    write_export([Original("mine", str(tmp_path / "rows.jsonl"), 2)], drop, np.zeros_like(drop), tmp_path / "out")
    assert (tmp_path / "out/kept.jsonl").read_text() == '{"n": 1}\n'
    assert (tmp_path / "out/dropped.jsonl").read_text() == '{"n": 2}\n'


def test_rows_that_are_trusted_too_have_a_file_of_their_own(make_toy: Any, tmp_path: Path) -> None:
    # The mix leaves trusted rows out of the noisy set, so they go to left_out.jsonl, and each other row has the
    # decision that is its own.
    path, planted = tmp_path / "mine.jsonl", [{"text": "safe", "n": 1}, {"text": "safe", "n": 2}]
    given = [planted[0], *SHAPES[:2], planted[1], *SHAPES[2:]]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    assert decide(task_of(run))["export"] == {"mine": {"kept": 2, "dropped": 2, "left_out": 2}}
    assert [[json.loads(line) for line in part] for part in exported(run)] == [[*SHAPES[:2]], [*SHAPES[2:]]]
    left = (run.folder / "filter" / "export" / "left_out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in left] == planted


def unread(run: Run, *rows: int) -> None:
    """Has the scoring of a run say that the answers of some rows go on behind the cut."""
    ids = [record.id for record in read_records(run.noisy_data)]
    pl.DataFrame({"id": [ids[row] for row in rows]}).write_parquet(run.unread)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_that_were_not_scored_to_their_end_are_kept_apart(make_toy: Any, tmp_path: Path) -> None:
    # Rows 1 and 3 of four are cut, and the last two are dropped: row 1 goes to too_long.jsonl, in the export too, and
    # row 3 is dropped all the same. filter.too_long=keep or a person's word leaves row 1 among the kept, and both are
    # told, as is a cut of which an older scoring has only the number.
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    before, task = input_hash(task_of(run)), task_of(run)
    unread(run, 1, 3)
    assert input_hash(task) != before
    summary, folder = decide(task), run.folder / "filter"
    assert summary["export"] == {"mine": {"kept": 1, "dropped": 2, "too_long": 1}}
    assert (summary["kept"], summary["dropped"], summary["too_long"]) == (2, 2, {"apart": 1, "kept": 0})
    records = list(read_records(run.noisy_data))
    for where, kept, apart in ((folder, asdict(records[0]), asdict(records[1])), (folder / "export", *SHAPES[:2])):
        drop_learn = [{key: row[key] for key in row if key != "learn"} for row in (kept, apart)]
        assert [lines(where / name) for name in ("kept.jsonl", "too_long.jsonl")] == [drop_learn[:1], drop_learn[1:]]
    reasons = pl.read_parquet(folder / "decisions.parquet").select("drop", "reason").rows()
    assert reasons[1] == (False, TOO_LONG) and reasons[3][0]
    assert "1 of the kept rows are in filter/too_long.jsonl" in too_long(summary)[0]

    keeping = replace(task, options=replace(task.options, too_long="keep"))
    summary = decide(keeping)
    assert summary["too_long"] == {"apart": 0, "kept": 1} and "1 of the kept rows have answers" in too_long(summary)[0]
    assert len(lines(folder / "kept.jsonl")) == 2 and not (folder / "too_long.jsonl").exists()

    (run.folder / "review.csv").write_text(f"id,keep\n{records[1].id},yes\n")
    assert decide(task)["too_long"] == {"apart": 0, "kept": 1} and len(lines(folder / "kept.jsonl")) == 2
    run.unread.unlink()
    write_manifest(run.signals("before"), read_manifest(run.signals("before")) | {"cut": 7})
    assert "7 rows were cut" in too_long(decide(task))[0]


def test_a_run_of_which_nothing_was_scored_to_its_end_is_refused(make_toy: Any, tmp_path: Path) -> None:
    # If every kept row was cut, the line names the two ways out, and no kept.jsonl is written.
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SHAPES))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(path))})
    unread(run, 0, 1)
    with pytest.raises(UserError, match=r"filter.too_long: .*raise data.max_length, or set filter.too_long=keep"):
        decide(task_of(run))
    assert not (run.folder / "filter" / "kept.jsonl").exists()


def test_the_loader_of_trl_axolotl_and_llama_factory_reads_it(make_toy: Any, tmp_path: Path) -> None:
    # All three read JSON Lines with the json loader of datasets, which gives the rows of one shape back as they were.
    from datasets import load_dataset

    rows = [{"instruction": f"q{n}", "input": "", "output": f"a{n}", "n": n} for n in range(4)]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    run = scored(make_toy, tmp_path, {"mine": SourceConfig(path=str(tmp_path / "mine.json"))})
    decide(task_of(run))
    for name, wanted in (("kept", rows[:2]), ("dropped", rows[2:])):
        file = str(run.folder / "filter" / "export" / f"{name}.jsonl")
        assert list(load_dataset("json", data_files=file, split="train", cache_dir=str(tmp_path / "cache"))) == wanted
