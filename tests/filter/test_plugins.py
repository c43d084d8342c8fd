from pathlib import Path
from typing import Any

import pytest
from plugin import forgetfilter, install

from forgetfilter.files import read_json

SIGNAL = """
import polars as pl
from forgetfilter.filter.signals import Signal, where_tokens

SIGNAL = Signal(
    name="answer_length",
    needs=("num_tokens",),
    expression=where_tokens(pl.col("num_tokens").cast(pl.Float64)),
    unit="tokens",
    doc="rival that only counts: label tokens of the answer",
)
"""
RULE = """
import polars as pl
from forgetfilter.filter.rules import Rule, Ruling

RULE = Rule(
    name="above_mean",
    settings=(),
    apply=lambda scores, signal: Ruling(scores.score > scores.score.mean(), pl.lit("beside the mean")),
    doc="above the mean of all scores",
)
"""
POINTS = "[forgetfilter.signals]\nanswer_length = others_signal:SIGNAL\n"
BOTH = POINTS + "[forgetfilter.rules]\nabove_mean = others_rule:RULE\n"


def test_a_signal_and_a_rule_of_another_package_decide(tmp_path: Path, make_toy: Any, four_rows: Any) -> None:
    # Rows of 4, 2, 8 and 1 tokens have the mean 3.75, so the other package's rule drops the first and the third; its
    # texts are in the report, and its version is part of the stage's identity.
    install(tmp_path, BOTH, others_signal=SIGNAL, others_rule=RULE)
    toy = make_toy(four_rows)
    toy.run().write_config()
    for name in ("mix", "score"):
        with toy.run().stage(name, "hash"):
            pass
    done = forgetfilter(tmp_path, "filter", str(toy.folder), "filter.signal=answer_length", "filter.rule=above_mean")
    assert done.returncode == 0, done.stderr
    assert "answer_length, above_mean" in done.stdout
    assert toy.decisions()["score"].to_list() == [4.0, 2.0, 8.0, 1.0]
    assert toy.decisions()["drop"].to_list() == [True, False, True, False]
    assert "answer_length" in read_json(toy.folder / "filter" / "summary.json")["quality"]["all_signals"]
    again = ("filter", str(toy.folder), "filter.signal=answer_length", "filter.rule=above_mean")
    assert "filter: done already" in forgetfilter(tmp_path, *again).stderr
    about = tmp_path / "others-1.2.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("1.2", "1.3"))
    assert "done already" not in forgetfilter(tmp_path, *again).stderr  # another version may score otherwise
    done = forgetfilter(tmp_path, "report", str(toy.folder))
    assert done.returncode == 0, done.stderr
    page = (toy.folder / "report.html").read_text(encoding="utf-8")
    assert "answer_length (tokens)" in page
    assert "The score is: rival that only counts: label tokens of the answer. Its unit is: tokens." in page


@pytest.mark.parametrize(
    ("points", "code", "said"),
    [
        (POINTS, "import nothing_of_this_name", "cannot be loaded (No module named 'nothing_of_this_name'): repair"),
        (POINTS, "SIGNAL = 1 /", "cannot be loaded (invalid syntax"),
        (POINTS, "", "cannot be loaded (module 'others_signal' has no attribute 'SIGNAL'): repair or uninstall it"),
        (POINTS, "SIGNAL = 'answer_length'", "is no forgetfilter.filter.signals.Signal: repair or uninstall it"),
        (POINTS, SIGNAL.replace('"answer_length"', '"loss_rise"'), "is called loss_rise, and another one is too"),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(tmp_path: Path, points: str, code: str, said: str) -> None:
    # Whatever is wrong with the package, the exit code is 2 and one line names the package, before anything is read.
    install(tmp_path, points, others_signal=code)
    config = tmp_path / "c.yaml"
    config.write_text("data: {noisy: {a: {path: a.jsonl}}, safe: {b: {path: b.jsonl}}}\n")
    done = forgetfilter(tmp_path, "config", str(config))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the entry point answer_length (others_signal:SIGNAL) in forgetfilter.signals of the package others" in line
    assert said in line


def test_an_unknown_name_is_compared_with_those_of_other_packages(tmp_path: Path) -> None:
    # The nearest name that the one line gives can be that of another package.
    install(tmp_path, POINTS, others_signal=SIGNAL)
    config = tmp_path / "c.yaml"
    config.write_text("data: {noisy: {a: {path: a.jsonl}}, safe: {b: {path: b.jsonl}}}\n")
    done = forgetfilter(tmp_path, "config", str(config), "filter.signal=answer_lenght")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "forgetfilter: filter.signal cannot be 'answer_lenght'; did you mean 'answer_length'?"
    ]
