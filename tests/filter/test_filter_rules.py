import polars as pl
import pytest
from forgetfilter.filter import rules
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.errors import UserError

FRAME = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "source": ["forum", "book", "forum", "forum", "book"],
        "score": [0.5, 0.75, 1.25, None, 0.5],
    }
)  # ranks: c 1, b 2, a 3, e 4 (equal to a, later id), d none


def dropped(frame: pl.DataFrame) -> list[str]:
    return frame.filter("drop")["id"].to_list()


def reasons(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.select("id", "reason").iter_rows())


def test_phi() -> None:
    # phi drops what exceeds it, not what equals it, and says both numbers
    out = rules.get("phi").apply(FRAME, "loss_rise", phi=0.5)
    assert dropped(out) == ["c", "b"]
    assert reasons(out) == {
        "c": "loss_rise 1.25 > phi 0.5",
        "b": "loss_rise 0.75 > phi 0.5",
        "a": "loss_rise 0.5 <= phi 0.5",
        "e": "loss_rise 0.5 <= phi 0.5",
        "d": "no label tokens",
    }


def test_quantile() -> None:
    # half of the 4 scored examples: 2; ranks are 1 for the most forgotten, ties by id
    out = rules.get("quantile").apply(FRAME, "loss_rise", quantile=0.5)
    assert dropped(out) == ["c", "b"]
    assert out["rank"].to_list() == [1, 2, 3, 4, None]
    assert out["id"].to_list() == ["c", "b", "a", "e", "d"]
    assert reasons(out)["b"] == "rank 2 of 4: among the 50% most forgotten"
    assert reasons(out)["e"] == "rank 4 of 4: not among the 50% most forgotten"
    assert reasons(out)["d"] == "no label tokens"


def test_top_k() -> None:
    # k by rank; a tie is cut at the smaller id
    out = rules.get("top_k").apply(FRAME, "loss_rise", top_k=3)
    assert dropped(out) == ["c", "b", "a"]
    assert reasons(out)["a"] == "rank 3 of 4: among the 3 most forgotten"
    assert reasons(out)["e"] == "rank 4 of 4: not among the 3 most forgotten"


def test_source_budget() -> None:
    # forum has two scored rows, half of them is 1: c; book is not named and keeps all
    out = rules.get("source_budget").apply(FRAME, "loss_rise", source_budget={"forum": 0.5})
    assert dropped(out) == ["c"]
    assert reasons(out) == {
        "c": "rank 1 of 2 in forum: among the 50% most forgotten of this source",
        "a": "rank 2 of 2 in forum: not among the 50% most forgotten of this source",
        "b": "source book has no budget",
        "e": "source book has no budget",
        "d": "no label tokens",
    }
    assert out["rank"].to_list() == [1, 2, 3, 4, None]  # over all sources


def test_source_budget_for_a_source_that_is_not_there() -> None:
    # a misspelt source would silently keep everything
    with pytest.raises(UserError, match=r"filter.source_budget.forun: .* did you mean 'forum'\?"):
        rules.get("source_budget").apply(FRAME, "loss_rise", source_budget={"forun": 0.5})


frames = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 2.0]))),
    min_size=1,
    max_size=30,
).map(
    lambda rows: pl.DataFrame(
        {
            "id": [f"{i:02d}" for i in range(len(rows))],
            "source": [source for source, _ in rows],
            "score": pl.Series([score for _, score in rows], dtype=pl.Float64),
        }
    )
)


@given(frame=frames, share=st.floats(0, 1), k=st.integers(0, 40), phi=st.floats(-2, 3))
@settings(max_examples=40, deadline=None)
def test_number_dropped(frame: pl.DataFrame, share: float, k: int, phi: float) -> None:
    # each rule drops exactly as many as it says, the most forgotten ones, and never a row without a score
    n = frame["score"].count()
    drops = {
        "phi": (rules.get("phi").apply(frame, "s", phi=phi), int((frame["score"] > phi).sum())),
        "quantile": (rules.get("quantile").apply(frame, "s", quantile=share), round(share * n)),
        "top_k": (rules.get("top_k").apply(frame, "s", top_k=k), min(k, n)),
    }
    for out, expected in drops.values():
        assert sorted(out["id"]) == frame["id"].to_list()
        assert out["drop"].sum() == expected
        assert sorted(out["rank"].drop_nulls()) == list(range(1, n + 1))
        assert out.filter("drop")["rank"].to_list() == list(range(1, expected + 1))
        assert out["reason"].null_count() == 0 and out["drop"].null_count() == 0


@given(frame=frames, share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_source_budget_is_a_quantile_inside_each_source(frame: pl.DataFrame, share: float) -> None:
    # what a budget drops of a source is what the quantile rule drops of that source alone
    budget = dict.fromkeys(frame["source"].unique(), share)
    out = rules.get("source_budget").apply(frame, "s", source_budget=budget)
    for source in budget:
        alone = rules.get("quantile").apply(frame.filter(pl.col("source") == source), "s", quantile=share)
        assert dropped(out.filter(pl.col("source") == source)) == dropped(alone)


@given(frame=frames, seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_input_order_has_no_say(frame: pl.DataFrame, seed: int) -> None:
    # the same rows in another order give the same decisions in the same order
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    budget = {frame["source"][0]: 0.5}
    for name, given_settings in (("quantile", {"quantile": 0.4}), ("source_budget", {"source_budget": budget})):
        rule = rules.get(name)
        assert rule.apply(frame, "s", **given_settings).equals(rule.apply(shuffled, "s", **given_settings))
