from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from forgetfilter.filter import rules
from forgetfilter.filter.stage import Filtering
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.config.schema import FilterConfig
from forgetfilter.data.records import make_records, write_records
from forgetfilter.errors import UserError
from forgetfilter.files import write_json
from forgetfilter.storage.run_paths import RunPaths

ROWS = [("a", "forum", 0.5), ("b", "book", 0.75), ("c", "forum", 1.25), ("d", "forum", None), ("e", "book", 0.5)]
# ranks: c 1, b 2, a 3, e 4 (equal to a, later id), d none
Row = tuple[str, str, float | None]


def make_scores(rows: list[Row]) -> rules.Scores:
    ids = np.argsort(np.argsort([row[0] for row in rows]))
    sources = sorted({source for _, source, _ in rows})
    codes = np.array([sources.index(source) for _, source, _ in rows], dtype=np.int32)
    score = np.array([np.nan if score is None else score for *_, score in rows], dtype=np.float64)
    return rules.Scores(score, codes, sources, lambda members: members[ids[members].argsort()])


def apply(name: str, rows: list[Row], **given_settings: Any) -> pl.DataFrame:
    """The ruling as a table, a row an example, in the rows' order."""
    scores = make_scores(rows)
    ruling = rules.get(name).apply(scores, "loss_rise", **given_settings)
    frame = pl.DataFrame(
        {"id": [r[0] for r in rows], "source": [r[1] for r in rows], "score": scores.score, "rank": scores.rank}
        | {"drop": ruling.drop}
    )
    return frame.with_columns(reason=ruling.reason)


def dropped(frame: pl.DataFrame) -> list[str]:
    return frame.filter("drop").sort("rank")["id"].to_list()


def reasons(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.filter(pl.col("rank") > 0).select("id", "reason").iter_rows())


def test_phi() -> None:
    # phi drops what exceeds it and not what equals it, and the reasons say so.
    out = apply("phi", ROWS, phi=0.5)
    assert dropped(out) == ["c", "b"]
    assert reasons(out) == {
        "c": "loss_rise > phi 0.5",
        "b": "loss_rise > phi 0.5",
        "a": "loss_rise <= phi 0.5",
        "e": "loss_rise <= phi 0.5",
    }


def test_quantile() -> None:
    # The rule drops half of the 4 scored examples; rank 1 is the most forgotten, ties are ranked by id, and a row
    # without a score has rank 0.
    out = apply("quantile", ROWS, quantile=0.5)
    assert dropped(out) == ["c", "b"]
    assert out["rank"].to_list() == [3, 2, 1, 0, 4]
    assert reasons(out)["b"] == "among the 50% most forgotten"
    assert reasons(out)["e"] == "not among the 50% most forgotten"


def test_top_k() -> None:
    # The rule drops k rows by rank, and cuts a tie at the smaller id.
    out = apply("top_k", ROWS, top_k=3)
    assert dropped(out) == ["c", "b", "a"]
    assert reasons(out)["a"] == "among the 3 most forgotten"
    assert reasons(out)["e"] == "not among the 3 most forgotten"


def test_scores_evenly_by_rank() -> None:
    # Few scores are all given, without the absent ones; of many their quantiles are given, with the highest and the
    # lowest among them.
    scores = make_scores([(f"{n:03}", "x", None if n % 5 == 0 else float(n * 37 % 101)) for n in range(101)])
    known = np.sort(scores.score[~np.isnan(scores.score)])[::-1]
    assert scores.evenly().tolist() == known.tolist()
    thin = scores.evenly(9)
    assert thin.tolist() == known[np.linspace(0, len(known) - 1, 9).round().astype(int)].tolist()
    assert (thin[0], thin[-1]) == (known[0], known[-1]) and len(make_scores([("a", "x", None)]).evenly()) == 0


def test_source_budget() -> None:
    # forum has two scored rows, half of which is one, so c is dropped; book has no budget and keeps all.
    out = apply("source_budget", ROWS, source_budget={"forum": 0.5})
    assert dropped(out) == ["c"]
    assert reasons(out) == {
        "c": "among the 50% most forgotten of forum",
        "a": "not among the 50% most forgotten of forum",
        "b": "its source has no budget",
        "e": "its source has no budget",
    }
    assert out["rank"].to_list() == [3, 2, 1, 0, 4]  # over all sources


def test_source_budgets_of_several_sources() -> None:
    # Each source has its own share, and its name is shown as it is.
    rows: list[Row] = [(f"{source}{n}", source, float(n)) for source in ("a{}", '"b"') for n in range(4)]
    out = apply("source_budget", rows, source_budget={"a{}": 0.25, '"b"': 0.5})
    assert set(dropped(out)) == {"a{}3", '"b"2', '"b"3'}
    assert reasons(out)["a{}3"] == "among the 25% most forgotten of a{}"
    assert reasons(out)['"b"0'] == 'not among the 50% most forgotten of "b"'


def test_source_budget_for_a_source_that_is_not_there() -> None:
    # A misspelt source, which would silently keep everything, is refused with the nearest name.
    with pytest.raises(UserError, match=r"filter.source_budget.forun: .* did you mean 'forum'\?"):
        apply("source_budget", ROWS, source_budget={"forun": 0.5})


rows_of_some_kind = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 2.0]))),
    min_size=1,
    max_size=30,
).map(lambda pairs: [(f"{i:02d}", source, score) for i, (source, score) in enumerate(pairs)])


@given(rows=rows_of_some_kind, share=st.floats(0, 1), k=st.integers(0, 40), phi=st.floats(-2, 3))
@settings(max_examples=40, deadline=None)
def test_number_dropped(rows: list[Row], share: float, k: int, phi: float) -> None:
    # Each rule drops exactly as many rows as it says, the most forgotten ones, and never a row without a score.
    known = [score for *_, score in rows if score is not None]
    drops = {
        "phi": (apply("phi", rows, phi=phi), sum(score > phi for score in known)),
        "quantile": (apply("quantile", rows, quantile=share), round(share * len(known))),
        "top_k": (apply("top_k", rows, top_k=k), min(k, len(known))),
    }
    for out, expected in drops.values():
        assert out["drop"].sum() == expected
        assert sorted(out.filter(pl.col("rank") > 0)["rank"]) == list(range(1, len(known) + 1))
        assert sorted(out.filter("drop")["rank"]) == list(range(1, expected + 1))
        assert out["reason"].null_count() == 0


@given(rows=rows_of_some_kind, share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_source_budget_is_a_quantile_inside_each_source(rows: list[Row], share: float) -> None:
    # What a budget drops of a source is what the quantile rule drops of that source alone.
    budget = {source: share for _, source, _ in rows}
    out = apply("source_budget", rows, source_budget=budget)
    for source in budget:
        alone = apply("quantile", [row for row in rows if row[1] == source], quantile=share)
        assert dropped(out.filter(pl.col("source") == source)) == dropped(alone)


@given(rows=rows_of_some_kind, shuffle=st.randoms())
@settings(max_examples=20, deadline=None)
def test_input_order_has_no_say(rows: list[Row], shuffle: Any) -> None:
    # The same rows in another order have the same decisions, and equal scores are ranked by id.
    shuffled = shuffle.sample(rows, len(rows))
    for name, given_settings in (
        ("quantile", {"quantile": 0.4}),
        ("source_budget", {"source_budget": {rows[0][1]: 0.5}}),
    ):
        one, other = apply(name, rows, **given_settings), apply(name, shuffled, **given_settings)
        assert one.equals(other.sort("id"))
    ranked = sorted((-score, i) for i, _, score in rows if score is not None)
    assert one.filter(pl.col("rank") > 0).sort("rank")["id"].to_list() == [i for _, i in ranked]


KNOWN = rules.Known(rows=400, probes=40, sources=("web", "forum"))


@pytest.mark.parametrize(
    ("rule", "given", "why"),
    [
        ("quantile", {"quantile": 0.001}, "filter.quantile=0.001 of 400 rows is none"),
        ("quantile", {"quantile": 0.01}, ""),
        ("top_k", {"top_k": 0}, "filter.top_k is 0"),
        ("source_budget", {"source_budget": {"web": 0.0}}, "every share of filter.source_budget is 0"),
        ("source_budget", {"source_budget": {"web": 0.0, "forum": 0.1}}, ""),
        ("conformal", {"max_false_drop": 0.1, "fdr": None, "confidence": 0.975}, ""),
        ("conformal", {"max_false_drop": 0.01, "fdr": None, "confidence": 0.975}, "40 probes are too few for filter.m"),
        ("conformal", {"max_false_drop": 0.1, "fdr": 0.02, "confidence": 0.975}, "40 probes are too few for filter.f"),
        ("conformal", {"max_false_drop": 0.1, "fdr": 0.025, "confidence": 0.975}, ""),
        (
            "conformal",
            {"max_false_drop": 0.02, "fdr": None, "confidence": "auto"},
            "40 probes are too few for filter.m",
        ),
        ("conformal", {"max_false_drop": 0.03, "fdr": None, "confidence": "auto"}, ""),
        ("otsu", {}, ""),
        ("phi", {"phi": 3.0}, ""),
    ],
)
def test_a_rule_that_can_drop_nothing_is_known_from_the_counts(rule: str, given: dict[str, Any], why: str) -> None:
    # Without any score it is known whether a rule can drop a row: with 40 probes, for example, no p-value is below 1 /
    # 41.
    assert rules.get(rule).hopeless(KNOWN, **given)[: len(why) or None].startswith(why)
    assert bool(rules.get(rule).hopeless(KNOWN, **given)) == bool(why)


@pytest.mark.parametrize(
    ("probes", "confidence", "told"), [(20, "auto", 1), (35, "auto", 1), (36, "auto", 0), (20, "average", 0)]
)
def test_too_few_probes_for_data_that_may_be_good_are_told_before_training(
    tmp_path: Path, probes: int, confidence: str, told: int
) -> None:
    # With confidence=auto and fewer than 36 probes something is dropped only where the scores prove unsafe rows.
    write_json(tmp_path / "data" / "summary.json", {"noisy": {"rows": 10_000 + probes, "by_source": {"web": {}}}})
    talks = ([{"role": "assistant", "content": f"probe {number}"}] for number in range(probes))
    write_records(tmp_path / "data" / "probes.jsonl", make_records((talk, "web", None) for talk in talks))
    options = FilterConfig(rule="conformal", signal="loss_rise", confidence=confidence)
    lines = Filtering(RunPaths(tmp_path), options, False, 1, nullcontext).foresee()
    assert len(lines) == told
    assert not told or f"unless the scores prove that rows are unsafe: {probes} probes are too few for" in lines[0]


def test_a_budget_of_a_source_that_is_not_there_is_refused() -> None:
    # The error of an unknown source gives the nearest name.
    with pytest.raises(UserError, match=r"filter\.source_budget\.forun: .*did you mean 'forum'"):
        rules.get("source_budget").hopeless(KNOWN, source_budget={"forun": 0.5})
