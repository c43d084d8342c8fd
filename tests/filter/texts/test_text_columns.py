from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter.table.joined_table import joined
from forgetfilter.filter.texts import column_shards, text_columns
from forgetfilter.filter.texts.clusters import BUCKETS, Space

from forgetfilter.data.records import RecordBlocks
from forgetfilter.errors import Stopped, UserError
from forgetfilter.process import interrupts
from forgetfilter.storage.shards import shard_path


@pytest.fixture
def families(make_toy: Any) -> Any:
    """Two kinds of text, 20 rows each; the safe set has the first kind."""
    words = {"cake": "bake the cake with flour and sugar", "car": "repair the engine brake and wheel"}
    rows = [(f"{text} number {n}", kind, None, 4, 2.0, 3.0) for kind, text in words.items() for n in range(20)]
    toy = make_toy(rows)
    safe = (toy.folder / "data" / "noisy.jsonl").read_text().splitlines()[0]
    (toy.folder / "data" / "safe.jsonl").write_text(safe + "\n")
    toy.run().write_config()
    return toy


def prepare(toy: Any, *columns: str) -> pl.DataFrame:
    columns = columns or text_columns.COLUMNS
    text_columns.prepare(toy.run(), columns)
    found = pl.DataFrame({"id": toy.ids})
    for name in columns:
        column = pl.read_parquet(folder_of(toy, name) / "rank=00000" / "*.parquet")
        found = found.join(column, on="id", how="left", maintain_order="left", validate="1:1")
    return found


def folder_of(toy: Any, column: str) -> Path:
    return Path(toy.folder / "signals" / "texts" / column)


def forget(toy: Any, *columns: str) -> None:
    for name in columns or text_columns.COLUMNS:
        (folder_of(toy, name) / "plan.json").unlink()
        (folder_of(toy, name) / "manifest.json").unlink()


def test_clusters_are_of_rows_that_look_alike(families: Any) -> None:
    # No cluster holds both kinds, rows that the safe set holds are near it, and two runs agree to the last digit.
    found = prepare(families).with_columns(kind=pl.Series(["cake"] * 20 + ["car"] * 20))
    assert found.group_by("cluster").agg(pl.col("kind").n_unique())["kind"].max() == 1
    near, far = (found.filter(kind=kind)["safe_distance"] for kind in ("cake", "car"))
    assert near.min() == pytest.approx(0, abs=1e-6) and near.to_numpy().max() < far.to_numpy().min()
    forget(families)
    assert prepare(families).equals(found.drop("kind"))


def test_each_column_is_made_once_and_only_when_asked_for(families: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A column that is there for the same data is kept, and for another safe set only the distance to it is made anew.
    made: list[str] = []
    real = column_shards._work
    monkeypatch.setattr(column_shards, "_work", lambda name, run: made.append(name) or real(name, run))
    prepare(families, "cluster")
    prepare(families)
    assert made == ["cluster", "safe_distance", "profanity"]
    (families.folder / "data" / "safe.jsonl").write_text("")
    assert prepare(families)["safe_distance"].is_nan().all()
    assert made[3:] == ["safe_distance"]
    assert {path.name for path in (families.folder / "signals" / "texts").iterdir()} == set(text_columns.COLUMNS)


def test_what_another_safe_set_said_is_not_joined(families: Any) -> None:
    # A column of another safe set is stale, so the table of every column does not have it.
    prepare(families)
    data, signals = families.folder / "data" / "noisy.jsonl", families.folder / "signals"
    with joined(data, signals) as table:
        assert {"cluster", "safe_distance", "profanity"} <= set(table.numbers)
    (families.folder / "data" / "safe.jsonl").write_text("")
    with joined(data, signals) as table:
        assert {"cluster", "safe_distance", "profanity"} & set(table.numbers) == {"cluster", "profanity"}


def test_a_stop_while_the_space_is_fitted_starts_no_process(families: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A signal that comes before the ranks are started ends the stage without starting them.
    monkeypatch.setattr(column_shards, "BLOCK_ROWS", 10)
    monkeypatch.setattr(interrupts, "_received", [15])
    monkeypatch.setattr(column_shards, "launch", None)
    with pytest.raises(Stopped, match="the same command"):
        prepare(families)


def test_a_lost_or_damaged_shard_is_made_again(families: Any) -> None:
    # The manifest alone does not count as the column, so a lost shard is made again, and so is one with a changed bit.
    found = prepare(families)
    shard = shard_path(folder_of(families, "cluster"), 0, 0)
    shard.unlink()
    assert prepare(families).equals(found)
    content = bytearray(shard.read_bytes())
    content[len(content) // 4] ^= 1
    shard.write_bytes(content)
    assert prepare(families).equals(found)


def test_a_damaged_space_is_no_space(families: Any) -> None:
    # What is left of a stopped reading counts only as it was written.
    space = families.folder / "space.npz"
    Space(np.eye(BUCKETS, 2), np.ones((3, 2))).save(space)
    assert column_shards._fitted(space)
    content = bytearray(space.read_bytes())
    content[len(content) // 2] ^= 1
    space.write_bytes(content)
    assert not column_shards._fitted(space) and not column_shards._fitted(space.with_name("no"))


def test_several_processes_make_what_one_makes(families: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Many blocks are divided among a process a core, each block is a shard, and no value depends on that division.
    found = prepare(families)
    forget(families)
    monkeypatch.setattr(column_shards, "BLOCK_ROWS", 7)
    monkeypatch.setattr(column_shards, "PIECE_ROWS", 3)
    monkeypatch.setattr(column_shards.os, "sched_getaffinity", lambda _: {0, 1})
    shared = prepare(families)
    assert len(list(folder_of(families, "cluster").rglob("*.parquet"))) == 6
    assert shared.drop("safe_distance").equals(found.drop("safe_distance"))
    assert (shared["safe_distance"] - found["safe_distance"]).abs().to_numpy().max() < 1e-12


def test_a_stopped_reading_goes_on(families: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A signal ends the reading between two blocks, and the next call makes the missing ones in the space that was
    # fitted before.
    monkeypatch.setattr(column_shards, "BLOCK_ROWS", 10)
    monkeypatch.setattr(column_shards.os, "sched_getaffinity", lambda _: {0})  # all in this process
    found = prepare(families)
    forget(families)
    read: list[int] = []
    real = RecordBlocks.each

    def one(blocks: RecordBlocks, number: int) -> Any:
        read.append(number)
        if len(read) == 2:
            interrupts._received.append(15)
        return real(blocks, number)

    monkeypatch.setattr(RecordBlocks, "each", one)
    monkeypatch.setattr(interrupts, "_received", [])
    with pytest.raises(Stopped, match="the same command"):
        prepare(families)
    assert read == [0, 1]
    interrupts._received.clear()
    monkeypatch.setattr(column_shards.Space, "fit", None)
    assert prepare(families).equals(found)
    assert read == [0, 1, 2, 3]


def test_decides_on_clusters(families: Any) -> None:
    # A signal over texts makes its columns by itself, and the note of an automatic rule warns that two heaps may be
    # kinds of rows.
    from forgetfilter.filter.decide import decide

    rises = [(i, 4, 3.0 + (n >= 20) + n / 100) for n, i in enumerate(families.ids)]
    families.write_losses("after", rises)
    summary = decide(families.task(signal="pooled_rise", quantile=0.5))
    assert summary["by_source"] == {"cake": {"kept": 20, "dropped": 0}, "car": {"kept": 0, "dropped": 20}}
    assert (folder_of(families, "cluster") / "manifest.json").exists()
    # its scores have two heaps, whether or not one of them is harm: the automatic rule says so
    assert "heaps by kind of row" in decide(families.task(signal="pooled_rise", rule="otsu"))["note"]
    assert "heaps by kind of row" not in decide(families.task(signal="loss_rise", rule="otsu"))["note"]


@pytest.mark.parametrize("rows", [["!"], ["one word"], ["!", "?", "."], ["a word", "a word", "the other word", ""]])
def test_texts_of_few_words_or_none_have_clusters(rows: list[str]) -> None:
    # A single row, texts without a word and repeated texts have finite points, and equal texts are in the same cluster.
    space = Space.fit(rows, len(rows))
    points = space.embed(rows)
    assert np.isfinite(points).all()
    clusters = dict(zip(rows, space.cluster(points)))
    assert [clusters[row] for row in rows] == space.cluster(points).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "noisy.jsonl is missing: run the mix stage first"),
        ("", "noisy.jsonl is empty: there is nothing to filter"),
        ('{"id": "a", "messages": [], "source": "x"}\n{"id": \n', "noisy.jsonl line 2: not valid JSON"),
    ],
)
def test_data_that_cannot_be_read_is_told_in_a_line(families: Any, content: str | None, message: str) -> None:
    # Data that is missing, empty or broken is told in one line before its texts are used.
    noisy = families.folder / "data" / "noisy.jsonl"
    noisy.unlink()
    if content is not None:
        noisy.write_text(content)
    with pytest.raises(UserError, match=message):
        prepare(families)
