"""The decision on tables in memory: pandas, Polars and Arrow, and what is refused."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from forgetfilter.api import forgetting, ids, keep
from forgetfilter.data.records import content_id
from forgetfilter.errors import UserError

NUMBER = 60


def losses(rise: float = 0.0) -> pl.DataFrame:
    """A mean loss of 1 nat a token for each of 60 rows; every third one rises by 2 nats, the others by `rise`."""
    rows = np.arange(NUMBER)
    added = np.where(rows % 3 == 0, 2.0, 0.05 + 0.001 * rows) * (rise > 0)
    return pl.DataFrame(
        {"id": [f"{n:04}" for n in rows], "num_tokens": 4 + rows % 5, "loss_sum": (4 + rows % 5) * (1 + added)}
    )


@pytest.fixture
def table() -> pl.DataFrame:
    made: pl.DataFrame = forgetting(losses(), losses(1.0))
    return made


def test_two_tables_become_one_in_the_order_of_the_first() -> None:
    # Rows are joined by id, whatever the order of the second table is, and the last epoch counts.
    earlier = losses(1.0).with_columns(pl.col("loss_sum") * 9, epoch=0)
    after = pl.concat([losses(1.0).with_columns(epoch=1).reverse(), earlier])
    found = forgetting(losses(), after)
    assert found.columns == ["id", "source", "num_tokens", "before_loss_sum", "after_loss_sum"]
    assert found["id"].to_list() == losses()["id"].to_list()
    assert found["after_loss_sum"].to_list() == losses(1.0)["loss_sum"].to_list() and set(found["source"]) == {"data"}


def test_the_forgotten_rows_are_dropped_and_the_table_keeps_its_kind(table: pl.DataFrame) -> None:
    # The third of the rows that rises is dropped by otsu, in each kind of table, in its own order and with its own
    # columns.
    for given in (table, table.to_arrow(), table.to_pandas(), table.lazy()):
        found = keep(given)
        assert type(found) is type(given)
        frame = found.collect() if isinstance(found, pl.LazyFrame) else pl.DataFrame(found)
        assert frame["keep"].to_list() == [n % 3 != 0 for n in range(NUMBER)]
        assert frame.columns == [*table.columns, "score", "rank", "keep", "reason"]
        assert frame["score"][3] == pytest.approx(2 / 1.05) and "automatic threshold" in frame["reason"][3]


def test_settings_and_signals_are_those_of_the_config(table: pl.DataFrame) -> None:
    # Another signal and rule take their settings, and a column of one's own feeds the signal that reads it.
    found = keep(table, signal="total_loss_rise", rule="quantile", quantile=0.1)
    assert (~found["keep"]).sum() == 6
    with_base = table.with_columns(base_loss_sum=pl.col("before_loss_sum") * (2 + pl.arange(0, NUMBER) % 7))
    scores = keep(with_base, signal="learned_share_lost", rule="top_k", top_k=3)
    assert (~scores["keep"]).sum() == 3 and scores["score"].is_finite().all()


def test_probes_are_never_dropped_and_let_conformal_decide(table: pl.DataFrame) -> None:
    # With probes the rule is conformal by itself, gives p-values and keeps every probe.
    good = [name for n, name in enumerate(table["id"]) if n % 3][::2]
    found = keep(table, probes=good, max_false_drop=0.3)
    assert found.filter(pl.col("id").is_in(good))["keep"].all()
    assert not found.filter(pl.arange(0, NUMBER) % 3 == 0)["keep"].any() and found["p_value"].null_count() == 0
    column = pl.Series(good + good[:1])  # one is there twice
    assert keep(table, probes=column, max_false_drop=0.3).equals(found)


def test_pandas_keeps_its_index(table: pl.DataFrame) -> None:
    # The result has the index of the given table, so that a column of it can be assigned there.
    given = table.to_pandas().set_index(np.arange(NUMBER)[::-1] + 1000)
    given["keep"] = keep(given)["keep"]
    assert given["keep"].tolist() == [n % 3 != 0 for n in range(NUMBER)]


def test_ids_are_those_of_the_project() -> None:
    # Rows of any shape have the project's ids, and an exact copy gets a number.
    rows = [{"prompt": "a", "completion": "b"}, {"text": "c"}, {"text": "c"}]
    base = content_id([{"role": "assistant", "content": "c"}])
    assert ids(rows)[1:] == [base, f"{base}-1"] and len(ids(rows)[0]) == 64


BAD: list[tuple[Any, Any, str]] = [
    (losses(), losses().head(59), "after has no row for 1 ids of the other, the first 0059"),
    (losses().head(59), losses(), "before has no row for 1 ids"),
    (
        pl.concat([losses(), losses().head(1)]),
        losses(),
        "before has 2 rows of ids that are there twice",
    ),
    (losses(), losses().with_columns(num_tokens=pl.lit(9)), "other numbers of label tokens"),
    (losses().drop("loss_sum"), losses(), "before has no column 'loss_sum'; columns found: id, num_tokens"),
    (3, losses(), "before must be the folder of a LossLog, or a table of pandas, Polars or Arrow, got int"),
    ("no/such/folder", losses(), "no/such/folder has no shards"),
]


@pytest.mark.parametrize(("before", "after", "said"), BAD, ids=[said[:30] for *_, said in BAD])
def test_logs_that_do_not_belong_together_are_refused(before: Any, after: Any, said: str) -> None:
    # One line names the log and the first id.
    with pytest.raises(UserError) as caught:
        forgetting(before, after)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signal": "los_rise"}, "did you mean 'loss_rise'?"),
        ({"signal": "distilled_excess"}, "reads the texts of the rows: use forgetfilter filter --from"),
        ({"signal": "chance", "rule": "nothing"}, "nothing"),
        ({"rule": "quantile", "quantil": 0.1}, "quantil is no setting of the rule quantile"),
        ({"rule": "quantile", "quantile": 2}, "quantile must be between 0 and 1, got 2"),
        ({"rule": "conformal"}, "rule=conformal needs at least 20 probes, got 0"),
        ({"rule": "source_budget"}, "source_budget is empty"),
        ({"signal": "excess_rise", "rule": "quantile"}, "signal=excess_rise needs probes"),
        ({"probes": ["nobody"]}, "probes: 1 ids are not in the table, the first nobody"),
    ],
)
def test_what_cannot_decide_is_refused(table: pl.DataFrame, options: dict[str, Any], said: str) -> None:
    # Whatever a configuration would refuse is refused before anything is decided.
    with pytest.raises(UserError) as caught:
        keep(table, **options)
    assert said in str(caught.value)


def test_a_table_without_losses_is_refused() -> None:
    # The error names the missing column and how to make it.
    with pytest.raises(UserError, match="table has no column 'before_loss_sum': make it with forgetting"):
        keep(pa.table({"id": ["a"], "num_tokens": [1]}))


def test_repeats_of_other_ranks_count_once() -> None:
    # Of rows that several ranks repeat, to fill the last batch of a scoring, the lowest rank's row is taken.
    both = pl.concat([losses().with_columns(rank=0), losses().head(2).with_columns(pl.col("loss_sum") + 1, rank=1)])
    assert forgetting(both, losses(1.0))["before_loss_sum"].to_list() == losses()["loss_sum"].to_list()
