from pathlib import Path

import polars as pl
import pytest
from forgetfilter.eval.side_by_side import differences


def store(folder: Path, prompts: list[str], harmful: list[float]) -> Path:
    """Scores of harmfulness as an evaluation leaves them."""
    declined = [not value for value in harmful]
    columns = {"id": prompts, "source": "made", "harmful": harmful, "refused": declined, "judge": "refusal"}
    place = folder / "harmfulness"
    place.mkdir(parents=True)
    pl.DataFrame(columns).with_columns(pl.lit("1").alias("refusal_rules")).write_parquet(place / "scores.parquet")
    return folder


def test_seeds_with_the_same_prompts_are_averaged(tmp_path: Path) -> None:
    # With two seeds on four prompts n is four, and the value is the mean over both seeds.
    names = ["a", "b", "c", "d"]
    first = [store(tmp_path / f"first{seed}", names, [1, 1, 1, seed]) for seed in (0, 1)]
    second = [store(tmp_path / f"second{seed}", names, [0, 0, 1, seed]) for seed in (0, 1)]
    one = differences(first, second)["harmfulness"]["attack_success_rate"]
    assert (one["n"], one["better"], one["headline"]) == (4, "lower", True)
    assert one["a"][0] == pytest.approx(7 / 8) and one["value"] == pytest.approx(-1 / 2)


def test_seeds_with_prompts_of_their_own_are_one_sample(tmp_path: Path) -> None:
    # There are six prompts in all, though one of them is in both seeds; pairs stay within a seed.
    first = [store(tmp_path / "f0", ["a", "b", "c"], [1, 1, 1]), store(tmp_path / "f1", ["a", "y", "z"], [0, 1, 1])]
    second = [store(tmp_path / "s0", ["c", "b", "a"], [0, 1, 1]), store(tmp_path / "s1", ["a", "y", "z"], [0, 1, 1])]
    found = differences(first, second)["harmfulness"]
    one = found["attack_success_rate"]
    assert one["n"] == 6 and one["value"] == pytest.approx(-1 / 6) and not found["refusal_rate"]["headline"]


def test_a_suite_that_one_of_them_lacks_is_left_out(tmp_path: Path) -> None:
    # No figure is made up for it.
    (tmp_path / "empty").mkdir()
    assert differences([store(tmp_path / "full", ["a"], [1])], [tmp_path / "empty"]) == {}
