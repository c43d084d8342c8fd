import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter.table import join
from forgetfilter.filter.table import joined_table as table_module
from forgetfilter.filter.table.columns import Columns
from forgetfilter.filter.table.joined_table import Table, joined
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.errors import UserError
from forgetfilter.storage.shards import shard_path, shard_paths, write_manifest

GOOD = [(4, 2.0), (2, 2.0), (8, 2.0), (1, 2.0)]  # (num_tokens, loss_sum) of four_rows before


def load(toy: Any) -> pl.DataFrame:
    """The joined table, whole."""
    with joined(toy.folder / "data" / "noisy.jsonl", toy.folder / "signals") as table:
        known = table.known(0, table.count)
        return known.with_columns(pl.Series(name, table.columns.read(name)) for name in table.numbers)


def losses(toy: Any, values: list[tuple[int, float]] = GOOD) -> list[tuple[str, int, float]]:
    return [(i, n, s) for i, (n, s) in zip(toy.ids, values)]


def test_joined_in_the_order_of_the_data(make_toy: Any, four_rows: Any) -> None:
    # The table has the data's rows in the data's order, whatever the order in the shards is.
    toy = make_toy(four_rows, orders=([3, 1, 0, 2], [2, 3, 1, 0]), ranks=3)
    table = load(toy)
    assert sorted(table.columns[3:]) == ["after_loss_sum", "before_loss_sum", "key", "num_tokens"]
    assert table["id"].to_list() == toy.ids
    assert table["source"].to_list() == ["forum", "forum", "mail", "book"]
    assert table["num_tokens"].to_list() == [4, 2, 8, 1]
    assert table["after_loss_sum"].to_list() == [6.0, 2.0, 4.0, 1.0]


def test_rouge_is_joined_where_both_states_have_it(make_toy: Any, four_rows: Any) -> None:
    # ROUGE of one state alone gives no columns, and a score that is not between 0 and 1 is refused.
    toy = make_toy(four_rows)
    toy.write_rouge("before", [1.0, 0.5, 0.25, 0.0])
    assert "before_rouge1" not in load(toy).columns
    toy.write_rouge("after", [0.0, 0.5, 0.25, 1.0])
    assert load(toy)["before_rouge1"].to_list() == [1.0, 0.5, 0.25, 0.0]
    assert load(toy)["after_rouge1"].to_list() == [0.0, 0.5, 0.25, 1.0]
    toy.write_rouge("after", [0.0, float("nan"), 0.25, 1.0])
    with pytest.raises(UserError, match=r"rouge1/after: rouge1 is not between 0 and 1 for 1 id"):
        load(toy)


def test_missing_foreign_and_repeated_ids(make_toy: Any, four_rows: Any) -> None:
    # The join proves that each id of the data is there exactly once, and otherwise the error names the ids.
    toy = make_toy(four_rows)
    toy.write_losses("after", losses(toy)[:2])
    missing = sorted(toy.ids[2:])
    with pytest.raises(UserError, match=rf"after: no row for 2 ids \({missing[0][:12]}, {missing[1][:12]}\) of 4"):
        load(toy)
    toy.write_losses("after", [*losses(toy), ("f" * 64, 1, 1.0)])
    with pytest.raises(UserError, match=r"after: rows for 1 id \(ffffffffffff\) that the data does not have"):
        load(toy)
    toy.write_losses("after", [*losses(toy), losses(toy)[1]])
    with pytest.raises(UserError, match=rf"after: 1 id \({toy.ids[1][:12]}\) scored more than once"):
        load(toy)


def test_an_empty_scoring_covers_nothing(make_toy: Any, four_rows: Any) -> None:
    # Shards without rows are not taken for a proof of coverage.
    toy = make_toy(four_rows)
    toy.write_losses("before", [])
    with pytest.raises(UserError, match=r"before: no row for 4 ids .*, \.\.\.\) of 4 examples"):
        load(toy)


def test_mixed_manifests(make_toy: Any, four_rows: Any) -> None:
    # Two scorings that differ in more than the model's state are not subtracted.
    toy = make_toy(four_rows)
    write_manifest(toy.folder / "signals" / "after", toy.manifest | {"dtype": "float32"})
    with pytest.raises(
        UserError, match=r"cannot be compared: dtype is 'same' and 'float32'; delete both and score again"
    ):
        load(toy)


def test_a_scoring_that_has_not_finished(make_toy: Any, four_rows: Any) -> None:
    # A folder of shards without its manifest does not count as whole.
    toy = make_toy(four_rows)
    (toy.folder / "signals" / "after" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"after has no manifest.json"):
        load(toy)


def test_truncated_shard(make_toy: Any, four_rows: Any) -> None:
    # A shard that was cut short is named by its path.
    toy = make_toy(four_rows, ranks=2)
    path = shard_paths(toy.folder / "signals" / "before")[1]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"before/rank=00001/part-00000.parquet is truncated"):
        load(toy)


def test_damaged_inside(make_toy: Any, four_rows: Any) -> None:
    # A shard with a whole footer and damaged pages is the user's error and no crash.
    toy = make_toy(four_rows)
    path = shard_path(toy.folder / "signals" / "before", 0, 0)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"signals/before cannot be read"):
        load(toy)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_impossible_losses(make_toy: Any, four_rows: Any, bad: float) -> None:
    # A NaN would rank as the most forgotten, so an impossible loss is refused with its id.
    toy = make_toy(four_rows)
    toy.write_losses("after", losses(toy, [*GOOD[:3], (1, bad)]))
    with pytest.raises(UserError, match=rf"after: the loss is NaN.* for 1 id \({toy.ids[3][:12]}\)"):
        load(toy)


def test_token_counts_must_agree(make_toy: Any, four_rows: Any) -> None:
    # Unequal token counts mean that not the same text was scored, so they are refused with the id.
    toy = make_toy(four_rows)
    toy.write_losses("after", losses(toy, [(5, 2.0), *GOOD[1:]]))
    with pytest.raises(
        UserError, match=rf"num_tokens differs .* 1 id \({toy.ids[0][:12]}\); delete both and score again"
    ):
        load(toy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "noisy.jsonl is empty"),
        ('{"id": "a", "source": "x"}\n{"id": "b", "sou\n', "noisy.jsonl line 2: not valid JSON"),
        ('{"id": "a", "source": "x"}\n{"source": "x"}\n', "noisy.jsonl row 2: has no id"),
        ('{"id": "a", "source": "x"}\n{"id": "b"}\n', "noisy.jsonl row 2: has no source"),
        ('{"id": "a", "source": "x"}\n{"id": "a", "source": "y"}\n', r"noisy.jsonl: 1 id \(a\) more than once"),
    ],
)
def test_bad_data(make_toy: Any, four_rows: Any, content: str, message: str) -> None:
    # Broken data is named by file and row.
    toy = make_toy(four_rows)
    (toy.folder / "data" / "noisy.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        load(toy)


def test_missing_data(make_toy: Any, four_rows: Any) -> None:
    # Without the data there are no ids to prove coverage of, so the error says which stage makes it.
    toy = make_toy(four_rows)
    (toy.folder / "data" / "noisy.jsonl").unlink()
    with pytest.raises(UserError, match=r"noisy.jsonl is missing: run the mix stage first"):
        load(toy)


def test_shards_as_a_whole(make_toy: Any, four_rows: Any) -> None:
    # A shard that is gone, there twice, of other data or of another kind is refused with an error of its own, and never
    # dropped silently.
    toy, other = make_toy(four_rows, ranks=2), make_toy([("else", "x", None, 1, 1.0, 1.0)])
    folder = toy.folder / "signals" / "after"
    second, third = shard_path(folder, 1, 0), shard_path(folder, 1, 1)
    content = second.read_bytes()
    foreign = shard_path(other.folder / "signals" / "after", 0, 0).read_bytes()
    second.unlink()
    with pytest.raises(
        UserError, match=r"after: no row for 2 ids \(.*\) of 4 examples; delete this folder and score again"
    ):
        load(toy)
    second.write_bytes(content)
    third.write_bytes(content)
    with pytest.raises(
        UserError, match=r"after: 2 ids \(.*\) scored more than once; delete this folder and score again"
    ):
        load(toy)
    third.write_bytes(foreign)
    with pytest.raises(UserError, match=rf"after: rows for 1 id \({other.ids[0][:12]}\) that the data does not have"):
        load(toy)
    pl.DataFrame({"id": ["a"], "text": ["no losses"]}).write_parquet(third)
    with pytest.raises(UserError, match=r"signals/after cannot be read .*; delete this folder and score again"):
        load(toy)
    third.unlink()
    assert len(load(toy)) == 4


def test_without_labels_only_what_is_needed_is_joined(make_toy: Any, four_rows: Any) -> None:
    # A column that the signal does not read costs time and memory, so it is joined only for labelled data, whose report
    # has every signal's quality.
    for labelled in (False, True):
        toy = make_toy([(text, source, label if labelled else None, *rest) for text, source, label, *rest in four_rows])
        toy.write_losses("base", [(i, 4, 1.0) for i in toy.ids])
        toy.write_rouge("before", [0.5] * 4)
        toy.write_rouge("after", [0.5] * 4)
        data, signals = toy.folder / "data" / "noisy.jsonl", toy.folder / "signals"
        for needs, found in (
            ([], set()),
            (["base_loss_sum"], {"base_loss_sum"}),
            (["after_rouge1"], {"before_rouge1", "after_rouge1"}),
            (None, {"base_loss_sum", "before_rouge1", "after_rouge1"}),
        ):
            further = {"base_loss_sum", "before_rouge1", "after_rouge1"} if labelled else found
            with joined(data, signals, needs) as table:
                assert set(table.numbers) - {"key", "num_tokens", "before_loss_sum", "after_loss_sum"} == further


def test_columns_in_the_data_s_order_are_not_sorted(make_toy: Any, four_rows: Any, monkeypatch: Any) -> None:
    # Once the first folder has proven the data's ids to be different, a folder in the data's order is joined without a
    # sort; values stand with their ids in any order.
    toy = make_toy(four_rows, orders=([2, 0, 3, 1], [1, 3, 0, 2]))
    sorted_: list[int] = []
    real = join.match
    monkeypatch.setattr(join, "match", lambda *keys: sorted_.append(1) or real(*keys))
    for number, (order, matches) in enumerate((([0, 1, 2, 3], 2), ([1, 3, 0, 2], 2), ([3, 2, 1, 0], 3))):
        toy.write_losses("base", [(i, 4, number + at) for at, i in enumerate(toy.ids)], order=order)
        sorted_.clear()
        assert load(toy)["base_loss_sum"].to_list() == [number + at for at in range(4)]
        assert len(sorted_) == matches


@given(ids=st.lists(st.text("0a-", max_size=12), min_size=1, max_size=30, unique=True), shuffle=st.randoms())
@settings(max_examples=30, deadline=None)
def test_rows_by_their_ids(ids: list[str], shuffle: Any) -> None:
    # Rows are sorted as their whole ids sort, whatever rows are given and however many share their first bytes.
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame({"id": ids}).write_parquet(Path(folder) / "index.parquet")
        table = Table(Path(folder) / "index.parquet", Columns(Path(folder), len(ids)), [], [])
        rows = shuffle.sample(range(len(ids)), shuffle.randint(1, len(ids)))
        assert table.id_order(np.array(rows, dtype=np.uint32)).tolist() == sorted(
            rows, key=lambda row: ids[row].encode()
        )


@pytest.mark.parametrize("number", [127, 128, 129])
def test_sources_and_labels_come_back_as_they_were(make_toy: Any, number: int) -> None:
    # The codes of sources take one byte up to 127 names and then two, and a row without a label stays without one.
    rows = [(f"row {n}", f"source {n}", (None, "safe", "unsafe")[n % 3], 1, 1.0, 1.0) for n in range(number)]
    table = load(make_toy(rows))
    assert table["source"].to_list() == [source for _, source, *_ in rows]
    assert table["label"].to_list() == [label for _, _, label, *_ in rows]


def test_where_two_ids_have_one_hash_another_is_taken(make_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # If the first hash has only three values, the rows are still joined correctly, and probes are found by the second
    # hash.
    toy = make_toy([(f"row {n}", "x", None, 1, 0.0, float(n)) for n in range(50)], orders=([*range(50)][::-1],) * 2)
    exact = join.key

    def key(seed: int) -> pl.Expr:
        return exact(seed) % 3 if seed == 0 else exact(seed)

    for module in (join, table_module):
        monkeypatch.setattr(module, "key", key)
    assert load(toy)["after_loss_sum"].to_list() == [float(n) for n in range(50)]
    with joined(toy.folder / "data" / "noisy.jsonl", toy.folder / "signals") as table:
        assert table.seed == 1 and table.find(pl.Series([toy.ids[7], "nobody", toy.ids[3]])).tolist() == [3, 7]


def test_a_sample_is_of_the_rows_by_chance(make_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Above SAMPLE rows the sample has the rows with the lowest hashes of their ids, with their own numbers and labels.
    toy = make_toy([(f"row {n}", "x", ("safe", "task")[n % 2], 1, 0.0, float(n)) for n in range(50)])
    monkeypatch.setattr(table_module, "SAMPLE", 20)
    with joined(toy.folder / "data" / "noisy.jsonl", toy.folder / "signals") as table:
        rows, keys = table.sample["row"].to_numpy(), table.columns.read("key")
        assert len(rows) == 20 and set(rows) == set(np.argsort(keys)[:20])
        assert table.sample["after_loss_sum"].to_list() == rows.tolist()
        assert table.sample["label"].to_list() == [("safe", "task")[row % 2] for row in rows]
