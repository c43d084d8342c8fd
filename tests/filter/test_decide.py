import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from forgetfilter.filter.decide import decide, input_hash
from forgetfilter.filter.inspecting.sweep import sweep
from forgetfilter.filter.stage import settings as task_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from forgetfilter.data.records import write_records
from forgetfilter.errors import UserError
from forgetfilter.report.terminal import filter_table
from forgetfilter.storage.shards import shard_path, write_manifest, write_shard

FILES = ("decisions.parquet", "kept.jsonl", "dropped.jsonl", "summary.json")


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def test_the_files_by_hand(make_toy: Any, four_rows: Any) -> None:
    # The loss rises by 1, 0, 0.25 and -1 and half of 4 rows is dropped, so every file has the two unsafe rows 0 and 2
    # as the dropped ones.
    toy = make_toy(four_rows)
    summary = decide(toy.task(signal="loss_rise", quantile=0.5))
    folder = toy.folder / "filter"
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["filter"]["quantile"] == 0.5 and summary["filter"]["signal"] == "loss_rise"
    line = summary["threshold_line"]
    assert line["after"] == pytest.approx([before + 0.25 for before in line["before"]], rel=1e-5)
    assert {key: value for key, value in summary.items() if key not in ("quality", "filter", "threshold_line")} == {
        "signal": "loss_rise",
        "signal_doc": "rise of the mean answer loss: l2 - l1",
        "unit": "nats a token",
        "axis": "rise of the loss (nats a token)",
        "rule": {"name": "quantile", "quantile": 0.5},
        "kept": 2,
        "dropped": 2,
        "unscored": 0,
        "by_source": {
            "book": {"kept": 1, "dropped": 0},
            "forum": {"kept": 1, "dropped": 1},
            "mail": {"kept": 0, "dropped": 1},
        },
        "by_label": {
            "safe": {"kept": 1, "dropped": 0},
            "task": {"kept": 1, "dropped": 0},
            "unsafe": {"kept": 0, "dropped": 2},
        },
        "threshold": 0.25,
        "threshold_is_dropped": True,
    }
    assert summary["quality"]["auroc"] == 1.0 and summary["quality"]["f1"] == 1.0
    noisy = lines(toy.folder / "data" / "noisy.jsonl")
    assert lines(folder / "kept.jsonl") == [noisy[1], noisy[3]]
    dropped = [json.loads(line) for line in lines(folder / "dropped.jsonl")]
    assert dropped == [
        json.loads(noisy[0]) | {"score": 1.0, "rank": 1, "reason": "among the 50% most forgotten"},
        json.loads(noisy[2]) | {"score": 0.25, "rank": 2, "reason": "among the 50% most forgotten"},
    ]
    frame = toy.decisions()
    assert frame.columns == [
        *("id", "source", "label", "num_tokens", "before_loss", "after_loss", "score", "rank", "drop", "reason")
    ]
    assert frame["id"].to_list() == toy.ids
    assert frame["before_loss"].to_list() == [0.5, 1.0, 0.25, 2.0]
    assert frame["after_loss"].to_list() == [1.5, 1.0, 0.5, 1.0]
    assert frame["rank"].to_list() == [1, 3, 2, 4]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "sweep.json"])


def test_labels_measure_and_never_steer(make_toy: Any, four_rows: Any) -> None:
    # Without labels the same rows are dropped, and there is no quality and no count by label.
    labelled, bare = make_toy(four_rows), make_toy([(*row[:2], None, *row[3:]) for row in four_rows])
    settings_given = {"signal": "loss_rise", "quantile": 0.5}
    decide(labelled.task(**settings_given))
    summary = decide(bare.task(**settings_given))
    assert summary["quality"] is None and summary["by_label"] is None
    assert bare.decisions().drop("label").equals(labelled.decisions().drop("label"))


def test_rows_without_label_tokens_are_kept_and_counted(make_toy: Any, four_rows: Any) -> None:
    # A row that could not be scored is kept, its reason says so, and the summary counts it.
    toy = make_toy([*four_rows, ("cut away", "mail", "unsafe", 0, 0.0, 0.0)])
    summary = decide(toy.task(signal="loss_rise", rule="phi", phi=0.1))
    assert (summary["kept"], summary["dropped"], summary["unscored"]) == (3, 2, 1)
    last = toy.decisions().row(-1, named=True)
    assert (last["score"], last["rank"], last["drop"], last["reason"]) == (None, None, False, "no label tokens")
    assert summary["quality"]["recall"] == pytest.approx(2 / 3)


def with_guard(toy: Any, values: list[float | None]) -> Any:
    """The toy with what a guard said of its rows."""
    table = pa.table({"id": toy.ids, "guard": pa.array(values, pa.float64())})
    write_shard(shard_path(toy.folder / "signals" / "guard", 0, 0), table)
    write_manifest(toy.folder / "signals" / "guard", toy.manifest)
    return toy


def test_rows_without_a_value_of_the_signal_are_kept_and_counted(make_toy: Any, four_rows: Any, capsys: Any) -> None:
    # A row without a verdict of the guard and a row without label tokens have two reasons and two counts.
    toy = make_toy([*four_rows, ("cut away", "mail", "unsafe", 0, 0.0, 0.0)])
    summary = decide(with_guard(toy, [0.9, None, 0.2, 0.1, 0.5]).task(signal="guard", rule="phi", phi=0.5))
    assert (summary["kept"], summary["dropped"], summary["unscored"], summary["valueless"]) == (4, 1, 2, 1)
    assert toy.decisions()["reason"].to_list()[1::3] == ["the signal has no value for it", "no label tokens"]
    Console().print(filter_table(summary))
    printed = capsys.readouterr().out
    assert "1 row was kept without a score (no label tokens)." in printed
    assert "1 row was kept without a score (no value of guard)." in printed


def test_a_signal_without_any_value_is_refused(make_toy: Any, four_rows: Any) -> None:
    # A guard that never gave a verdict is refused, because it would keep everything as if all were well.
    with pytest.raises(UserError, match=r"filter.signal=guard has no value for any example: take another"):
        decide(with_guard(make_toy(four_rows), [None] * 4).task(signal="guard"))


def test_a_constant_signal_drops_nothing_and_says_so(make_toy: Any, four_rows: Any) -> None:
    # Equal scores could be separated only by chance, so nothing is dropped, and every row's reason and the summary say
    # why.
    toy = make_toy([(*row[:3], 1, 1.0, 2.0) for row in four_rows])
    summary = decide(toy.task(signal="loss_rise", quantile=0.5))
    assert (summary["dropped"], summary["threshold"]) == (0, None)
    assert summary["note"] == "the signal is constant: nothing separates the examples"
    assert set(toy.decisions()["reason"]) == {summary["note"]}


def test_where_nobody_chose_and_nothing_separates_nothing_is_dropped(make_toy: Any) -> None:
    # With one group of scores the automatic choice drops nothing, its note says what to do, and the sweep still shows
    # what each share would drop.
    toy = make_toy([(f"row {n}", "x", None, 1, 1.0, 2.0 + (n * 37 % 101) / 101) for n in range(101)])
    run = toy.run(signal="auto", rule="auto")
    summary = decide(task_of(run))
    assert (summary["signal"], summary["rule"]["name"], summary["dropped"]) == ("relative_loss_rise", "otsu", 0)
    assert summary["note"].startswith("no separation found") and "data.probes" in summary["note"]
    assert "data.probes" not in decide(toy.task(rule="otsu"))["note"]  # who named the rule knows
    assert sweep(task_of(run)).height == 100


def test_two_heaps_are_parted_by_an_automatic_threshold(make_toy: Any) -> None:
    # Both automatic rules drop the upper group, and each reason says on which side of the threshold the row lies.
    rise = np.concatenate([np.random.default_rng(0).normal(at, 0.2, size) for at, size in ((1.0, 140), (4.0, 60))])
    toy = make_toy([(f"row {n}", "x", None, 1, 1.0, 1.0 + value) for n, value in enumerate(rise.tolist())])
    for rule in ("otsu", "mixture"):
        summary = decide(toy.task(signal="loss_rise", rule=rule))
        threshold = f"the automatic threshold {summary['threshold']:.6g}"
        reasons = toy.decisions()["reason"].to_list()
        assert reasons == [f"up to {threshold}"] * 140 + [f"above {threshold}"] * 60


def test_dropping_nothing_is_allowed(make_toy: Any, four_rows: Any) -> None:
    # If nothing is dropped, kept.jsonl has the bytes of data/noisy.jsonl.
    toy = make_toy(four_rows)
    summary = decide(toy.task(rule="top_k", top_k=0))
    assert (summary["kept"], summary["dropped"], summary["threshold"]) == (4, 0, None)
    assert (toy.folder / "filter/kept.jsonl").read_bytes() == (toy.folder / "data/noisy.jsonl").read_bytes()
    assert (toy.folder / "filter/dropped.jsonl").read_bytes() == b""


def test_dropping_everything_is_refused_and_earlier_files_stay(make_toy: Any, four_rows: Any) -> None:
    # A decision that would leave nothing to refit is refused and changes no file.
    toy = make_toy(four_rows)
    decide(toy.task())
    earlier = {name: (toy.folder / "filter" / name).read_bytes() for name in (*FILES, "sweep.json")}
    with pytest.raises(UserError, match=r"filter.rule=top_k \(filter.top_k=9\) drops every example"):
        decide(toy.task(rule="top_k", top_k=9))
    assert {name: (toy.folder / "filter" / name).read_bytes() for name in earlier} == earlier


def test_probes_and_what_a_rule_drops(make_toy: Any) -> None:
    # Shares and numbers count the rows that are no probes, though probes rank among them, and a rule that drops every
    # such row is refused.
    toy = make_toy([(f"row {n}", "ab"[n % 2], "safe", 1, 0.0, float(n)) for n in range(40)])
    lines = (toy.folder / "data" / "noisy.jsonl").read_text().splitlines(keepends=True)
    (toy.folder / "data" / "probes.jsonl").write_text("".join(lines[30:]))  # the most forgotten
    for rule in (
        {"rule": "top_k", "top_k": 6},
        {"rule": "quantile", "quantile": 0.2},
        {"rule": "source_budget", "source_budget": {"a": 0.2, "b": 0.2}},
    ):
        summary = decide(toy.task(signal="loss_rise", **rule))
        assert toy.decisions().filter("drop")["score"].to_list() == [24, 25, 26, 27, 28, 29]
        assert (summary["kept"], summary["dropped"], summary["probes"]) == (24, 6, 10)
        assert summary["by_source"]["a"] == {"kept": 12, "dropped": 3} and summary["threshold"] == 24
        assert summary["by_label"] == {"safe": {"kept": 24, "dropped": 6}}
    for rule in (
        {"rule": "quantile", "quantile": 1.0},
        {"rule": "phi", "phi": -5.0},
        {"rule": "top_k", "top_k": 30},
    ):
        with pytest.raises(UserError, match="drops every example that has a score"):
            decide(toy.task(signal="loss_rise", **rule))


def test_dropped_lines_come_by_rank_from_any_number_of_buckets(make_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # With 7 dropped lines to a bucket the file has the same lines in the same order as with one bucket.
    import forgetfilter.filter.split as module

    toy = make_toy([(f"row {n}", "x", None, 1, 0.0, float(n * 37 % 101)) for n in range(101)])
    decide(toy.task(signal="loss_rise", quantile=0.5))
    whole = (toy.folder / "filter/dropped.jsonl").read_bytes()
    monkeypatch.setattr(module, "BUCKET", 7)
    decide(toy.task(signal="loss_rise", quantile=0.5))
    assert (toy.folder / "filter/dropped.jsonl").read_bytes() == whole and whole.count(b"\n") == 50
    assert [json.loads(line)["rank"] for line in whole.splitlines()] == [*range(1, 51)]


def test_no_number_is_too_high(make_toy: Any, four_rows: Any) -> None:
    # A number above that of the rows drops every row that has a score, but for the one that a person keeps; a row
    # without a score stays.
    toy = make_toy([*four_rows, ("unread", "web", None, 0, 0.0, 0.0)])
    (toy.folder / "review.csv").write_text(f"keep,id\nyes,{toy.ids[0]}\n")
    assert decide(toy.task(signal="loss_rise", rule="top_k", top_k=2**40))["dropped"] == 3
    assert toy.decisions()["drop"].to_list() == [False, True, True, True, False]


def test_an_infinite_score_is_refused(make_toy: Any, four_rows: Any) -> None:
    # An infinite score cannot be ranked, so the error asks for another signal.
    toy = make_toy(four_rows)
    toy.write_losses("base", [(name, 1, float("inf" if n else "1")) for n, name in enumerate(toy.ids)])
    with pytest.raises(UserError, match="base_loss is infinite for 3 examples: take another"):
        decide(toy.task(signal="base_loss"))


def test_what_labels_alone_ask_for_refuses_nothing(make_toy: Any, four_rows: Any) -> None:
    # If a column that only the quality would read lacks a row or is infinite, the decision stands, the other signals
    # are measured, and a note says what was left out.
    toy = make_toy(four_rows)
    toy.write_losses("base", [(name, 1, 1.0) for name in toy.ids[1:]])
    summary = decide(toy.task(signal="loss_rise", quantile=0.5))
    assert summary["dropped"] == 2 and "loss_rise" in summary["quality"]["all_signals"]
    assert summary["quality_note"].startswith("Signals were left out of the quality: ")
    assert "base: no row for 1 id" in summary["quality_note"] and "base_loss" not in summary["quality"]["all_signals"]
    with pytest.raises(UserError, match="base: no row for 1 id"):
        decide(toy.task(signal="base_loss", quantile=0.5))
    toy.write_losses("base", [(name, 1, float("inf")) for name in toy.ids])
    assert decide(toy.task(signal="loss_rise", quantile=0.5))["quality"]["all_signals"]["base_loss"]["auroc"] is None


def test_nothing_to_score(make_toy: Any) -> None:
    # Data of which no answer survived the cut is refused.
    toy = make_toy([("x", "a", None, 0, 0.0, 0.0)])
    with pytest.raises(UserError, match="no noisy example has a label token"):
        decide(toy.task())


def test_no_one_threshold_for_budgets(make_toy: Any, four_rows: Any) -> None:
    # The row of book with -1 is dropped and the rows of forum with 0 and 1 are kept, so the summary has no threshold.
    toy = make_toy(four_rows)
    summary = decide(toy.task(signal="loss_rise", rule="source_budget", source_budget={"book": 1.0}))
    assert summary["threshold"] is None
    assert summary["rule"] == {"name": "source_budget", "source_budget": {"book": 1.0}}
    assert summary["by_source"]["book"] == {"kept": 0, "dropped": 1}


def test_rouge(make_toy: Any, four_rows: Any) -> None:
    # The paper's signal works where ROUGE-1 is stored, and is refused with a clear line where it is not.
    toy = make_toy(four_rows)
    with pytest.raises(UserError, match=r"filter.signal=rouge1_drop needs ROUGE-1"):
        decide(toy.task(signal="rouge1_drop"))
    toy.write_rouge("before", [1.0, 0.5, 0.75, 0.5])
    toy.write_rouge("after", [0.25, 0.5, 0.25, 0.5])
    summary = decide(toy.task(signal="rouge1_drop", rule="phi", phi=0.5))
    assert toy.decisions()["score"].to_list() == [0.75, 0.0, 0.5, 0.0]
    assert summary["dropped"] == 1
    assert "rouge1_drop" in summary["quality"]["all_signals"]


def test_input_hash(make_toy: Any, four_rows: Any) -> None:
    # The hash changes with the settings, a manifest and the data, and a decision does not change it.
    toy = make_toy(four_rows)
    first = input_hash(toy.task())
    assert input_hash(toy.task()) == first
    decide(toy.task())
    assert input_hash(toy.task()) == first
    assert input_hash(toy.task(quantile=0.1)) != first
    write_manifest(toy.folder / "signals" / "after", toy.manifest | {"adapter": "other"})
    second = input_hash(toy.task())
    assert second != first
    write_records(toy.folder / "data" / "noisy.jsonl", toy.records[:3])
    assert input_hash(toy.task()) != second


toy_rows = st.lists(
    st.tuples(
        st.sampled_from(["same", "text", "é\n"]),  # exact duplicates get numbered ids
        st.sampled_from(["forum", "book"]),
        st.sampled_from(["unsafe", "safe", "task", None]),
        st.integers(1, 4),
        st.sampled_from([0.0, 1.0, 2.5]),
        st.sampled_from([0.0, 1.0, 2.5]),
    ),
    min_size=2,
    max_size=12,
)


@given(rows=toy_rows, share=st.floats(0, 0.7), ranks=st.integers(2, 3), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_split_and_shard_order(make_toy: Any, rows: Any, share: float, ranks: int, seed: int) -> None:
    # Kept and dropped rows together are the data, each id once, and shards in another order give equal bytes.
    toy = make_toy(rows)
    summary = decide(toy.task(quantile=share))
    ids = [json.loads(line)["id"] for name in FILES[1:3] for line in lines(toy.folder / "filter" / name)]
    assert sorted(ids) == sorted(toy.ids)
    assert summary["dropped"] == (0 if "note" in summary else round(share * len(rows)))  # constant: none
    shuffle = random.Random(seed)
    orders = tuple(shuffle.sample(range(len(rows)), len(rows)) for _ in range(2))
    other = make_toy(rows, orders=orders, ranks=ranks)
    decide(other.task(quantile=share))
    for name in FILES:
        assert (other.folder / "filter" / name).read_bytes() == (toy.folder / "filter" / name).read_bytes()
