import csv
import json
from pathlib import Path
from typing import Any

import pytest
from forgetfilter.filter.decide import decide, input_hash
from forgetfilter.filter.inspecting import review
from forgetfilter.filter.stage import settings

from forgetfilter.errors import UserError


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "review.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def edit(folder: Path, words: dict[str, str]) -> None:
    """Writes words into the column keep, as a person does."""
    edited = [row | {"keep": words.get(row["id"], row["keep"])} for row in rows(folder)]
    with open(folder / "review.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, edited[0].keys())
        writer.writeheader()
        writer.writerows(edited)


def test_a_person_keeps_one_after_all(make_toy: Any, four_rows: Any) -> None:
    # Rows 0 and 2 are dropped and a person keeps row 0: files, reason, counts and the stage's hash say so, and the
    # rule's threshold stays.
    toy = make_toy(four_rows)
    run = toy.run(signal="loss_rise", quantile=0.5)
    decide(settings(run))
    before = input_hash(settings(run))
    review.write(run, 2)
    assert [row["id"] for row in rows(toy.folder)] == [toy.ids[0], toy.ids[2]]  # most forgotten first
    assert input_hash(settings(run)) == before  # nothing was said yet
    edit(toy.folder, {toy.ids[0]: "Yes "})
    assert input_hash(settings(run)) != before
    summary = decide(settings(run))
    assert (summary["kept"], summary["dropped"], summary["threshold"]) == (3, 1, 0.25)
    assert summary["review"] == {"kept": 1, "dropped": 0, "changed": 1}
    assert toy.decisions()["reason"][0] == "kept by review" and not toy.decisions()["drop"][0]
    kept = [json.loads(line)["id"] for line in (toy.folder / "filter/kept.jsonl").read_bytes().splitlines()]
    assert toy.ids[0] in kept


def test_a_person_drops_a_row_without_a_score(make_toy: Any, four_rows: Any) -> None:
    # The row stands last among the dropped, and its score and rank are empty.
    toy = make_toy([*four_rows, ("unread", "web", None, 0, 0.0, 0.0)])
    run = toy.run(signal="loss_rise", quantile=0.5)
    decide(settings(run))
    (toy.folder / "review.csv").write_text(f"keep,id\nno,{toy.ids[4]}\n")
    decide(settings(run))
    dropped = [json.loads(line) for line in (toy.folder / "filter/dropped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in dropped] == [toy.ids[0], toy.ids[2], toy.ids[4]]
    assert [dropped[2][name] for name in ("score", "rank", "reason")] == [None, None, "dropped by review"]


def test_what_was_said_survives_other_thresholds(make_toy: Any, four_rows: Any) -> None:
    # A person's words, for keeping and for dropping, outlive another rule, another decision and a new review file.
    toy = make_toy(four_rows)
    decide(toy.task(signal="loss_rise", quantile=0.5))
    review.write(toy.run(), 2)
    edit(toy.folder, {toy.ids[0]: "yes", toy.ids[2]: "no"})
    run = toy.run(signal="loss_rise", rule="top_k", top_k=1)  # would drop row 0 alone
    summary = decide(settings(run))
    assert toy.decisions()["drop"].to_list() == [False, False, True, False]
    assert summary["review"] == {"kept": 1, "dropped": 1, "changed": 2}
    review.write(run, 2)
    assert {row["id"]: row["keep"] for row in rows(toy.folder)} == {toy.ids[0]: "yes", toy.ids[2]: "no"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keep,id\nyes,unknown\n", r"review.csv row 1: the data has no example 'unknown'"),
        ("keep,id\n,a\nmaybe,b\n", r"review.csv row 2: keep must be yes, no or empty, got 'maybe'"),
        ("keep,id\nyes,a\nno,a\n", r"review.csv row 2: id a is there twice with different words"),
        ("id,text\na,b\n", r"review.csv row 1: needs the columns id and keep"),
        ("", r"review.csv is empty: delete it"),
        ('keep,id\nyes,"a\n', r"review.csv cannot be read"),
    ],
)
def test_mistakes_are_named_by_file_and_row(make_toy: Any, four_rows: Any, content: str, message: str) -> None:
    # A review that cannot be honoured is refused with its file and row, and never passed over.
    toy = make_toy(four_rows)
    (toy.folder / "review.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        decide(toy.task())


def test_a_text_is_no_formula(make_toy: Any) -> None:
    # A spreadsheet would run a cell that begins with =, so such a text gets an apostrophe.
    toy = make_toy([("=1+1", "a", None, 1, 0.0, 9.0), ("b", "a", None, 1, 0.0, 0.0)])
    decide(toy.task(signal="loss_rise", quantile=0.5))
    review.write(toy.run(), 10, reveal=True)
    assert rows(toy.folder)[0]["text"] == "'=1+1"


@pytest.mark.parametrize(
    "written", ["Keep ;ID\nyes;{}\n", "id\tKEEP\n{1}\tno\n{0}\tYES\n", "keep,id\r\n\r\nyes,{}\r\n"]
)
def test_files_of_spreadsheets(make_toy: Any, four_rows: Any, written: str) -> None:
    # The columns may be separated by semicolons or tabs, stand in any order and case, and lie between empty lines.
    toy = make_toy(four_rows)
    (toy.folder / "review.csv").write_bytes(written.format(toy.ids[0], toy.ids[1]).encode())
    decide(toy.task(signal="loss_rise", quantile=0.5))
    assert toy.decisions()["reason"][0] == "kept by review"
    assert ("dropped by review" in toy.decisions()["reason"]) == ("no" in written)


def test_where_nothing_is_dropped_the_most_forgotten_are_shown(make_toy: Any, four_rows: Any) -> None:
    # The most forgotten of the kept rows, with their texts from the data, come where nothing is dropped, and after the
    # dropped rows otherwise.
    toy = make_toy(four_rows)
    decide(toy.task(signal="loss_rise", rule="phi", phi=9.0))
    review.write(toy.run(), 2, reveal=True)
    shown = rows(toy.folder)
    assert [(row["id"], row["text"]) for row in shown] == [(toy.ids[0], "größte Kränkung"), (toy.ids[2], "an insult")]
    decide(toy.task(signal="loss_rise", rule="source_budget", source_budget={"mail": 1.0}))
    review.write(toy.run(), 1)
    assert [row["id"] for row in rows(toy.folder)] == [toy.ids[2]]  # the dropped first


def test_a_column_of_ones_own_stays(make_toy: Any, four_rows: Any) -> None:
    # What a person wrote into further columns is in the next review file too.
    toy = make_toy(four_rows)
    run = toy.run(signal="loss_rise", quantile=0.5)
    decide(settings(run))
    (toy.folder / "review.csv").write_text(f"id,keep,remark\n{toy.ids[0]},,unsure\n{toy.ids[1]},no,rude\n")
    review.write(run, 2)
    assert {row["id"]: (row["keep"], row["remark"]) for row in rows(toy.folder)} == {
        toy.ids[0]: ("", "unsure"),
        toy.ids[1]: ("no", "rude"),
        toy.ids[2]: ("", ""),
    }


def test_other_data_than_was_decided_on(make_toy: Any, four_rows: Any) -> None:
    # If the rows have changed their order since the decision, the review is refused, so no row is shown with another's
    # text.
    toy = make_toy(four_rows)
    decide(toy.task(signal="loss_rise", quantile=0.5))
    lines = (toy.folder / "data" / "noisy.jsonl").read_text().split("\n")
    (toy.folder / "data" / "noisy.jsonl").write_text("\n".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=r"noisy.jsonl is not what was decided on: run the filter stage again"):
        review.write(toy.run(), 4)


def test_nothing_was_decided(make_toy: Any, four_rows: Any) -> None:
    # A review before any decision is refused with a line that says which stage to run first.
    with pytest.raises(UserError, match=r"decisions.parquet is missing: run the filter stage first"):
        review.write(make_toy(four_rows).run(), 5)


def test_a_probe_that_a_person_drops_is_none(make_toy: Any) -> None:
    # The probe is dropped and calibrates no more: without the four highest of 40 probes the threshold is lower.
    toy = make_toy([(f"row {n}", "x", None, 1, 0.0, float(n)) for n in range(140)])
    lines = (toy.folder / "data" / "noisy.jsonl").read_text().splitlines(keepends=True)
    (toy.folder / "data" / "probes.jsonl").write_text("".join(lines[60:100]))
    run = toy.run(signal="loss_rise", rule="conformal", max_false_drop=0.2)
    assert (decide(settings(run))["probes"], run.folder.joinpath("review.csv").exists()) == (40, False)
    first = decide(settings(run))["threshold"]
    (toy.folder / "review.csv").write_text("keep,id\n" + "".join(f"no,{name}\n" for name in toy.ids[96:100]))
    summary = decide(settings(run))
    assert (summary["probes"], summary["review"]["dropped"]) == (36, 4) and summary["threshold"] < first
    assert toy.decisions()["drop"].to_list()[96:100] == [True] * 4
    assert not toy.decisions()["probe"].to_list()[99]


@pytest.mark.parametrize("before", ["", " ", "\t", "\n", "\r\n", "\0", "\u200b", "\ufeff", "\u202e", " \u200b\0 "])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_begins_with_a_formula(before: str, sign: str) -> None:
    # An apostrophe stands before a sign of a formula, whatever precedes it that some spreadsheets leave out, and a wide
    # sign counts too; any other text stays as it is.
    assert review._plain(f"{before}{sign}HYPERLINK(1)").startswith("'")
    assert review._plain(f"{before}1{sign}1") == f"{before}1{sign}1" and review._plain(before) == before
