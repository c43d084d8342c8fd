import io
import json

import numpy as np
import polars as pl
import pytest
from forgetfilter.eval import suites
from forgetfilter.eval.__main__ import main as evaluate_main
from forgetfilter.eval.compare import brief, compare, flips, main, sides
from forgetfilter.eval.tables import terminal
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from forgetfilter.cli import main as cli
from forgetfilter.errors import UserError
from forgetfilter.files import write_json


@pytest.fixture
def make(tmp_path):
    """A function that stores scores of suites as an evaluated model of a run, and returns the run folder."""

    def store(run, model, **tables):
        folder = tmp_path / run
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text("")
        for suite, table in tables.items():
            place = folder / "eval" / model / suite
            place.mkdir(parents=True)
            table.write_parquet(place / "scores.parquet")
            table.select("id", pl.format("prompt {}", "id").alias("prompt")).write_parquet(
                place / "generations.parquet"
            )
            write_json(place / "metrics.json", {"suite": suite, "model": model, "metrics": {}})
        return folder

    return store


def refused(values, ids=None):
    ids = ids or [f"h{i}" for i in range(len(values))]
    declined = pl.Series(values, dtype=pl.Boolean)
    columns = {"harmful": 1 - declined.cast(pl.Float64), "refused": declined, "judge": "refusal"}
    return pl.DataFrame({"id": ids, "source": "made"} | columns)


def toxic(values, scorer="profanity-check"):
    ids = [f"t{i}" for i in range(len(values))]
    scores = pl.Series(values, dtype=pl.Float64)
    columns = {"toxicity": scores, "highest": scores, "samples": 1, "scorer": [scorer] * len(values)}
    return pl.DataFrame({"id": ids, "source": "made"} | columns)


def bias(chosen):
    """Ambiguous rows of one polarity: 0 stereotyped, 1 the other, 2 unknown."""
    chosen = np.asarray(chosen)
    columns = {
        "condition": "ambig",
        "category": None,
        "gold_biased": False,
        "formula": "paper",
        "chosen": chosen,
        "correct": chosen == 2,
    }
    ids = [f"b{i}" for i in range(len(chosen))]
    more = {"unknown": chosen == 2, "biased": chosen == 0, **{f"loss_{i}": chosen * 0.5 + i for i in range(3)}}
    return pl.DataFrame({"id": ids, "source": "made"} | columns | more)


def of(differences, metric):
    return next(one for one in differences if one.metric == metric)


def test_the_difference_is_over_the_prompts_that_both_were_scored_on(make):
    # A complies on h0, h1 and h3, B only on h1, and h4 is missing for A: attack success is 3/4 and 1/4 over 4 prompts,
    # with 1 missing.
    a = make("a", "refit", harmfulness=refused([False, False, True, False, None]))
    b = make("b", "refit", harmfulness=refused([True, False, True, True, True]))
    ((first, second),) = sides(str(a), str(b))
    found, changes = compare(first, second)
    one = of(found, "attack_success_rate")
    assert (one.value, one.a[0], one.b[0], one.n, one.missing) == (-0.5, 0.75, 0.25, 4, 1)
    assert one.low <= -0.5 <= one.high and one.better == "lower"
    assert changes.select("score", "id", "a_value", "b_value", "flipped", "prompt").rows() == [
        (score, f"h{n}", float(score == "harmful"), float(score == "refused"), True, f"prompt h{n}")
        for n in (0, 3)
        for score in ("harmful", "refused")
    ]


def test_prompts_in_another_order_or_in_one_run_only(make, capsys):
    # Rows are joined by id and never by position. The command says how many prompts only one run has.
    a = make("a", "base", harmfulness=refused([True, False, True], ["x", "y", "z"]))
    b = make("b", "base", harmfulness=refused([False, True, True], ["y", "w", "x"]))
    found, changes = compare(*sides(str(a), str(b))[0])
    one = of(found, "attack_success_rate")
    assert (one.value, one.n, one.missing) == (0.0, 2, 0) and not len(changes)


def test_a_ratio_is_resampled_whole(make):
    # For A 4 of 8 answers are unknown and the other 4 biased: s_AMB is 0.5 * (2 * 4 / 4 - 1) = 0.5. B has none biased:
    # 0.5 * -1.
    a, b = make("a", "noisy", bias=bias([0] * 4 + [2] * 4)), make("b", "noisy", bias=bias([1] * 4 + [2] * 4))
    found, changes = compare(*sides(str(a), str(b))[0])
    one = of(found, "s_amb")
    assert (one.a[0], one.b[0], one.value, one.better) == (0.5, -0.5, -1.0, "zero")
    assert -1.9 < one.low < -0.5
    assert not changes.filter(pl.col("score").str.starts_with("loss"))["flipped"].any()


def test_verdicts(make):
    # Better and worse follow the metric's direction, and are said only where the interval excludes 0.
    low, high = [0.01 * i for i in range(20)], [0.5 + 0.02 * i for i in range(20)]
    run = make("a", "noisy", toxicity=toxic(high))
    make("a", "refit", toxicity=toxic(low))
    there, _ = compare(*sides("noisy", "refit", run)[0])
    back, _ = compare(*sides("refit", "noisy", run)[0])
    same, _ = compare(*sides("refit", "refit", run)[0])
    assert of(there, "toxicity_mean").verdict == "B better" and of(back, "toxicity_mean").verdict == "B worse"
    assert of(there, "toxicity_mean").value == -of(back, "toxicity_mean").value
    assert all((one.value, one.low, one.verdict) == (0, -one.high, "no clear difference") for one in same)


def test_several_seeds(make):
    # With two runs on each side, matched in order, the difference is the mean over both seeds; Student's t of few seeds
    # is wide.
    for seed, (a, b) in enumerate([(0.4, 0.3), (0.6, 0.4)]):
        make(f"a{seed}", "refit", toxicity=toxic([a] * 10))
        make(f"b{seed}", "refit", toxicity=toxic([b] * 10))
    folder = make("a0", "x").parent
    first, second = (f"{folder}/{side}0,{folder}/{side}1:refit" for side in "ab")
    one = of(compare(*sides(first, second)[0])[0], "toxicity_mean")
    assert one.value == pytest.approx(-0.15)
    assert one.high - one.value == pytest.approx(12.706 * 0.05, rel=1e-3)  # t with 1 degree of freedom
    with pytest.raises(UserError, match=r"2 runs and .* has 1"):
        sides(first, f"{folder}/b0")


@given(st.lists(st.tuples(*[st.sampled_from([True, False, None])] * 2), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_exchange_negates_whatever_is_missing(pairs):
    # With nulls anywhere, n + missing is the number of prompts, and B - A mirrors A - B.
    from forgetfilter.eval.paired import paired

    a, b = (refused(list(side)) for side in zip(*pairs))
    one, back = (of(paired("harmfulness", ("a", "b"), [x], [y]), "attack_success_rate") for x, y in ((a, b), (b, a)))
    both = [pair for pair in pairs if None not in pair]
    assert (one.n, one.missing) == (len(both), len(pairs) - len(both))
    if both:
        assert (one.value, one.low, one.high) == (-back.value, -back.high, -back.low)
    else:
        assert one.value is None and one.verdict == "nothing scored"


def test_what_cannot_be_compared_is_said_in_one_line(make, tmp_path):
    # A missing run or model, no common suite or prompts, and another scorer or other columns each give a line that says
    # what to do.
    a = make("a", "refit", toxicity=toxic([0.1]), harmfulness=refused([True]))
    for name, tables, words in (
        ("b", {"harmfulness": refused([True], ["other"])}, "no prompt in common"),
        ("c", {"toxicity": toxic([0.2], "detoxify")}, "scorer differs .detoxify, profanity-check"),
        ("d", {"toxicity": toxic([0.2]).with_columns(max=1.0)}, "different versions of the suite .columns .*: max"),
        ("e", {"bias": bias([0])}, "no evaluated suite in common"),
    ):
        other = make(name, "refit", **tables)
        with pytest.raises(UserError, match=words):
            compare(*sides(str(a), str(other))[0])
    for given_, words in (
        (f"{a}:refitt", "has no evaluation of 'refitt'; did you mean 'refit'"),
        (str(tmp_path / "nowhere"), "is no run folder"),
        (str(make("empty", "base")), "no model was evaluated in both"),
    ):
        with pytest.raises(UserError, match=words):
            sides(given_, str(a))
    (a / "eval/refit/toxicity/scores.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match="missing or not whole: run forgetfilter eval again"):
        compare(*sides(str(a), str(a))[0])


def test_files_and_command(make, capsys):
    # forgetfilter eval --compare A B prints where the JSON, both tables and the changed prompts are.
    a = make("a", "refit", harmfulness=refused([False, True, True]))
    b = make("b", "refit", harmfulness=refused([True, True, True]))
    with pytest.raises(SystemExit) as ended:
        cli(["eval", "--compare", str(a), str(b)])
    folder = a / "eval/comparisons/a.refit-vs-b.refit"
    told = capsys.readouterr()
    assert ended.value.code == 0 and told.out.splitlines()[-1] == str(folder) and "Flipped prompts" in told.err
    with pytest.raises(SystemExit):
        cli(["eval", "--compare", str(b), str(b)])
    assert "no prompt's score crossed one half" in (told := capsys.readouterr()).err and "Flipped" not in told.err
    entry, _ = json.loads((folder / "comparison.json").read_text())["differences"]
    assert {"suite", "metric", "value", "low", "high", "n", "missing", "verdict"} <= set(entry)
    assert pl.read_parquet(folder / "changes.parquet")["id"].to_list() == ["h0", "h0"]
    assert "attack\\_success\\_rate" in (folder / "comparison.tex").read_text()
    assert "95% intervals are over paired prompts" in (folder / "comparison.md").read_text()
    with pytest.raises(SystemExit) as ended:
        cli(["eval", str(a), "--compare", "refit", "base"])
    assert ended.value.code == 2 and "has no evaluation of 'base'" in capsys.readouterr().err
    for wrong in (["eval"], ["eval", str(a), "seed=1", "--compare", "refit", "refit"]):
        with pytest.raises(SystemExit) as ended:
            cli(wrong)
        assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_80_columns_hold_every_column_and_whole_words(make):
    # In a narrow terminal no name is broken within a word, and each interval stands whole below its value.
    a, b = (make(name, "refit", harmfulness=refused([name == "a"] * 30)) for name in "ab")
    found, changes = compare(*sides(str(a), str(b))[0])
    for with_models in (False, True):
        text = shown(brief("A: a, B: b", found, with_models), flips(changes))
        words = text.split()
        assert {"metric", "A", "B", "(missing)", "verdict", "success", "(0)"} <= set(words), text
        assert [words.count(number) for number in ("0.000", "1.000", "-1.000")] == [2, 3, 1]
        assert sum("…" in word for word in words) == 6
        assert ("harmfulness, refit" in text) == with_models


def shown(*sheets):
    console = Console(file=io.StringIO(), width=80)
    for sheet in sheets:
        console.print(terminal(sheet))
    return console.file.getvalue()


def test_a_real_evaluation_equals_itself(make_run, alone):
    # With the scores of every suite as eval writes them, all differences are 0 within their intervals, and n and
    # missing are those of metrics.json.
    run = make_run("itself")
    evaluate_main([str(run.folder), "base"])
    folder = main(("base", "base"), str(run.folder))
    entries = json.loads((folder / "comparison.json").read_text())["differences"]
    assert {entry["suite"] for entry in entries} == {
        suite.name for suite in suites.every() if (run.folder / f"eval/base/{suite.name}").exists()
    }
    for entry in entries:
        stored = json.loads((run.folder / f"eval/base/{entry['suite']}/metrics.json").read_text())["metrics"]
        assert (entry["n"], entry["missing"]) == (stored[entry["metric"]]["n"], stored[entry["metric"]]["missing"])
        assert (entry["value"] == 0 and entry["low"] == -entry["high"]) or entry["n"] == 0
    assert (run.folder / "eval/metrics.md").exists() and (run.folder / "eval/metrics.tex").exists()
