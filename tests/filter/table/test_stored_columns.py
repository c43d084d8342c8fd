import json
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from forgetfilter.filter.table.joined_table import joined

from forgetfilter.errors import UserError
from forgetfilter.storage.shards import LOSS_SCHEMA, shard_path, write_manifest, write_shard


def columns(toy: Any) -> dict[str, list[float]]:
    with joined(toy.folder / "data" / "noisy.jsonl", toy.folder / "signals") as table:
        return {name: table.columns.read(name).tolist() for name in table.numbers}


def write_epochs(toy: Any, epochs: list[list[float]], data: str = "same") -> None:
    """The hook's losses: a list of loss sums, in the order of the ids, an epoch."""
    rows = [
        {"id": i, "source": "x", "num_tokens": 1, "loss_sum": s, "rank": 0, "step": e, "epoch": e}
        for e, sums in enumerate(epochs)
        for i, s in reversed(list(zip(toy.ids, sums)))
    ]
    folder = toy.folder / "train" / "noisy" / "losses"
    write_shard(shard_path(folder, 0, 0), pa.Table.from_pylist(rows, schema=LOSS_SCHEMA))
    write_manifest(folder, {"data": data})


def test_dynamics_of_the_hook(make_toy: Any, four_rows: Any) -> None:
    # The columns have the rises, the mean and the spread of the probability over the epochs, whatever the order in the
    # log is.
    toy = make_toy(four_rows)
    nats = -np.log([0.2, 0.6])
    # four_rows has 4, 2, 8 and 1 label tokens
    write_epochs(toy, [[4 * nats[0], 2.0, 8.0, 1.0], [4 * nats[1], 4.0, 4.0, 2.0], [4 * nats[0], 2.0, 8.0, 3.0]])
    found = columns(toy)
    assert found["noisy_loss_rises"] == [1, 1, 1, 2]
    assert found["noisy_confidence"][0] == pytest.approx((0.2 + 0.6 + 0.2) / 3)
    assert found["noisy_variability"][0] == pytest.approx(np.std([0.2, 0.6, 0.2]))
    assert not [name for name in found if name.startswith("epoch")]


def test_more_rises_than_a_byte_holds(make_toy: Any, four_rows: Any) -> None:
    # The 150 rises of 300 epochs are counted, though a signed byte would end at 127.
    toy = make_toy(four_rows)
    folder = toy.folder / "train" / "noisy" / "losses"
    rows = [
        {"id": i, "source": "x", "num_tokens": 1, "loss_sum": float(epoch % 2), "rank": 0, "step": 0, "epoch": epoch}
        for epoch in range(300)
        for i in toy.ids
    ]
    write_shard(shard_path(folder, 0, 0), pa.Table.from_pylist(rows, schema=LOSS_SCHEMA))
    write_manifest(folder, toy.manifest)
    with joined(toy.folder / "data" / "noisy.jsonl", toy.folder / "signals") as table:
        assert table.columns.read("noisy_loss_rises").tolist() == [150] * 4


def test_dynamics_of_other_data_are_left_alone(make_toy: Any, four_rows: Any) -> None:
    # A log of an earlier noisy set gives no columns.
    toy = make_toy(four_rows)
    write_epochs(toy, [[1.0] * 4], data="other")
    assert "noisy_confidence" not in columns(toy)


@pytest.mark.parametrize(
    ("state", "field", "refusal"),
    [("base", "data", "is of other data"), ("control", "plan", "cannot be compared: plan")],
)
def test_losses_of_other_states(make_toy: Any, four_rows: Any, state: str, field: str, refusal: str) -> None:
    # The losses of M0 and of the control finetuning are joined by id; M0's of other data are refused, and so are the
    # control's if they were scored in other batches.
    toy = make_toy(four_rows)
    toy.write_losses(state, [(i, 4, float(number)) for number, i in enumerate(toy.ids)], order=[2, 0, 3, 1])
    assert columns(toy)[f"{state}_loss_sum"] == [0.0, 1.0, 2.0, 3.0]
    toy.manifest[field] = "other"
    write_manifest(toy.folder / "signals" / state, toy.manifest)
    with pytest.raises(UserError, match=refusal):
        columns(toy)


def test_a_signal_that_lacks_its_columns_says_what_to_do(make_toy: Any, four_rows: Any) -> None:
    # The error names the setting that stores what is missing.
    from forgetfilter.filter.decide import decide

    for signal, setting in (
        ("base_loss", "score.base"),
        ("top_token_rise", "score.tokens"),
        ("gradient_distance", "score.gradients"),
        ("embedding_distance", "score.encoder"),
        ("guard", "score.guard.name"),
        ("contrastive_rise", "data.control or mixture.control"),
        ("variability", "log_los"),
    ):
        with pytest.raises(UserError, match=f"filter.signal={signal} needs .*{setting}"):
            decide(make_toy(four_rows).task(signal=signal))


def test_probes_are_never_dropped(make_toy: Any) -> None:
    # Under every rule the probes are kept, marked and counted, and the calibrated rule bounds the good rows that it
    # drops by them.
    from forgetfilter.filter.decide import decide
    from forgetfilter.filter.inspecting.sweep import sweep

    rows = [(f"row {n}", "x", None, 1, 0.0, float(n)) for n in range(200)]
    toy = make_toy(rows)
    lines = (toy.folder / "data" / "noisy.jsonl").read_text().splitlines(keepends=True)
    (toy.folder / "data" / "probes.jsonl").write_text("".join(lines[1::2]))
    summary = decide(toy.task(signal="loss_rise", quantile=0.1))
    assert (summary["dropped"], summary["probes"]) == (10, 100)
    decisions = toy.decisions()
    assert decisions["probe"].sum() == 100 and not decisions.filter("probe")["drop"].any()
    toy.write_losses("after", [(i, 1, 500.0 if n % 20 == 0 else n) for n, i in enumerate(toy.ids)])
    summary = decide(toy.task(signal="loss_rise", rule="conformal", max_false_drop=0.1))
    found = toy.decisions()
    assert summary["note"].startswith("100 probes; at most 10%")
    assert found.filter(pl.col("score") == 500)["drop"].all() and summary["dropped"] <= 10 + 0.1 * 90
    assert found.filter(pl.col("score") == 500)["p_value"].to_list() == pytest.approx([1 / 101] * 10)
    assert found.filter("probe")["reason"].unique().to_list() == ["a probe: trusted, never dropped"]
    (dropped,) = found.filter(pl.col("score") == 500)["reason"].unique()
    assert dropped == f"forgotten more than the probes allow (score above {summary['threshold']:g})"
    first = json.loads((toy.folder / "filter" / "dropped.jsonl").read_text().splitlines()[0])
    assert first["p_value"] == pytest.approx(1 / 101) and first["rank"] == 1
    dropped_by_bound = summary["dropped"]
    summary = decide(toy.task(signal="loss_rise", rule="conformal", fdr=0.3))
    reason = dict(toy.decisions().filter(~pl.col("probe")).select("drop", "reason").iter_rows())
    limit = summary["note"].split("p <= ")[1]
    assert reason == {
        True: f"forgotten more than the probes allow (p up to {limit})",
        False: f"within what the probes show (p above {limit})",
    }
    summary = decide(toy.task(signal="loss_rise", rule="conformal", fdr=0.001))
    assert summary["dropped"] == 0 and summary["note"].endswith("no p-value is low enough: nothing dropped")
    assert set(toy.decisions().filter(~pl.col("probe"))["reason"]) == {summary["note"]}
    curve = sweep(toy.task(signal="loss_rise", rule="conformal"))
    assert curve.filter(setting=0.1)["dropped"].item() == dropped_by_bound and curve["dropped"].is_sorted()
    with pytest.raises(UserError, match=r"varies filter.max_false_drop, .* set filter.fdr=null"):
        sweep(toy.task(signal="loss_rise", rule="conformal", fdr=0.1))


def test_noise_floor(make_toy: Any, four_rows: Any) -> None:
    # The floor is what the signal shows between two scorings of one model, and the share of drops above it is counted
    # where there is one threshold.
    from forgetfilter.filter.decide import decide

    toy = make_toy(four_rows)
    toy.write_losses("noise", [(i, n, loss + 0.5 * n) for i, (*_, n, loss, _) in zip(toy.ids, four_rows)])
    summary = decide(toy.task(signal="loss_rise", rule="top_k", top_k=2))
    assert summary["noise"] == {"floor": pytest.approx(0.5), "share_of_drops_above": 0.5}  # rises 1 and 0.25
    budget = toy.task(signal="loss_rise", rule="source_budget", source_budget={"mail": 1.0, "book": 1.0})
    assert decide(budget)["noise"] == {"floor": pytest.approx(0.5), "share_of_drops_above": None}  # no one threshold


def test_noise_is_what_the_scores_move_by(make_toy: Any) -> None:
    # Where 1 row in 100 moves by 9 and the others by 0.01, the floor is 0.01, and for a fitted signal it is a
    # difference of scores too, whatever else the signal reads.
    from forgetfilter.filter.decide import decide

    toy = make_toy([(f"row {n}", "x", None, 1, 1.0, 2.0 + n / 100) for n in range(300)])
    toy.write_losses(
        "noise", [(i, 1, 1.0 + (9.0 if n % 100 == 7 else 0.01 * (-1) ** n)) for n, i in enumerate(toy.ids)]
    )
    noise = decide(toy.task(signal="loss_rise", quantile=0.1))["noise"]
    assert noise == {"floor": pytest.approx(0.01), "share_of_drops_above": pytest.approx(28 / 30, abs=0.04)}
    lines = (toy.folder / "data" / "noisy.jsonl").read_text().splitlines(keepends=True)
    (toy.folder / "data" / "probes.jsonl").write_text("".join(lines[:40]))
    assert decide(toy.task(signal="excess_rise", quantile=0.1))["noise"]["floor"] == pytest.approx(0.01)
    assert decide(toy.task(signal="conditional_rise", quantile=0.1))["noise"]["floor"] < 0.5


def test_token_rises() -> None:
    # The columns have the numbers of the worked example, and a row without label tokens has none.
    from forgetfilter.score.rises import token_columns

    rows = {
        "before_losses": [[1.0, 1.0, 1.0], []],
        "after_losses": [[1.1, 3.0, 0.7], []],
        "before_correct": [[True, True, False], []],
        "after_correct": [[False, True, False], []],
    }
    lists = {name: pl.List(pl.Boolean if "correct" in name else pl.Float64) for name in rows}
    found = pl.DataFrame(rows, schema=lists).select(**token_columns())
    expected = (1 / 3, 2.0, 0.6, 0.6 / (1.0033278 + 0.05))
    assert found.row(0) == pytest.approx(expected)
    assert found.row(1) == (None,) * 4
