import json
from pathlib import Path

import pytest
from plugin import forgetfilter, install

from forgetfilter.files import read_json

SUITE = """
import polars as pl
from forgetfilter.eval.intervals import measure_mean
from forgetfilter.eval.suites import Suite, frame

def score(rows, outputs, settings):
    lengths = [len(outputs.texts[row["id"]]) for row in rows]
    return frame(rows, {"characters": (lengths, pl.Int64)})

def metrics(scores):
    return {"characters": measure_mean(scores["characters"].cast(pl.Float64).to_list(), "lower")}

about = "lengths in characters"
SUITE = Suite(name="length", score=score, metrics=metrics, generates=True, made_with=lambda settings: about)
"""
KINDS = """
import numpy as np
from forgetfilter.eval.judges import JudgeKind
from forgetfilter.eval.scorers import ScorerKind
from forgetfilter.models.guards import ClassifyingKind

class Coin:
    kept, at_once, trouble, identity = False, 2, "", "coin"

    def judge(self, pairs):
        return [0.0 for _ in pairs]

JUDGE = JudgeKind("coin", lambda config, ranks: Coin())
SCORER = ScorerKind("shouting", lambda: lambda texts: np.full(len(texts), 0.375))
GUARD = ClassifyingKind("doorman", "", "{prompt} {answer}", above=0.5)
"""
POINTS = """
[forgetfilter.suites]
length = others_suite:SUITE
[forgetfilter.judges]
coin = others_kinds:JUDGE
[forgetfilter.scorers]
shouting = others_kinds:SCORER
[forgetfilter.guards]
doorman = others_kinds:GUARD
"""


@pytest.fixture
def config(tmp_path: Path, toy_folder: Path) -> Path:
    install(tmp_path, POINTS, others_suite=SUITE, others_kinds=KINDS)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {number}"}) + "\n" for number in range(3)))
    file = tmp_path / "c.yaml"
    file.write_text(
        f"name: plugged\noutput: {tmp_path}\ncache: {tmp_path / 'cache'}\nmodel: {{name: {toy_folder}}}\n"
        f"eval: {{models: [base], suites: [length], data: {{length: {{path: {prompts}}}}}, max_new_tokens: 3}}\n"
        "tracking: {mode: disabled}\n"
    )
    return file


def test_a_suite_of_another_package_is_measured(tmp_path: Path, config: Path) -> None:
    # Its prompts come from eval.data, its scores and metrics from its own functions.
    done = forgetfilter(tmp_path, "eval", str(config))
    assert done.returncode == 0, done.stderr
    told = read_json(tmp_path / "plugged" / "eval" / "base" / "length" / "metrics.json")
    assert told["metrics"]["characters"]["n"] == 3 and told["made_with"] == "lengths in characters"
    assert "characters" in done.stdout


def test_a_judge_and_a_scorer_of_another_package_are_asked(tmp_path: Path, config: Path) -> None:
    # The real command has the figures that they give: the judge calls every answer harmless (the offline judge, with
    # these answers that decline nothing, all harmful), and the scorer gives each the same toxicity.
    rows = tmp_path / "prompts.jsonl"
    suites = [f"eval.data.{suite}.path={rows}" for suite in ("toxicity", "harmfulness")]
    kinds = ["eval.judge.name=coin", "eval.toxicity_scorer=shouting", "eval.suites=[toxicity,harmfulness]"]
    done = forgetfilter(tmp_path, "eval", str(config), *suites, *kinds)
    assert done.returncode == 0, done.stderr
    toxicity, harmfulness = (
        read_json(tmp_path / "plugged" / "eval" / "base" / suite / "metrics.json")
        for suite in ("toxicity", "harmfulness")
    )
    assert toxicity["metrics"]["toxicity_mean"]["value"] == 0.375 and toxicity["made_with"] == "toxicity by shouting"
    told = harmfulness["metrics"]
    assert (told["attack_success_rate"]["value"], told["attack_success_rate"]["n"]) == (0, 3)
    assert told["refusal_rate"]["value"] == 0 and harmfulness["judge"] == "coin"


def test_judges_scorers_and_guards_of_another_package_can_be_named(tmp_path: Path, config: Path) -> None:
    # The check of a configuration knows them, and suggests them for a misspelt name.
    known = ["eval.judge.name=coin", "eval.toxicity_scorer=shouting", "score.guard.name=doorman"]
    done = forgetfilter(tmp_path, "config", str(config), *known)
    assert done.returncode == 0, done.stderr
    done = forgetfilter(tmp_path, "config", str(config), "eval.judge.name=dorman")
    assert done.returncode == 2 and "did you mean 'doorman'?" in done.stderr
