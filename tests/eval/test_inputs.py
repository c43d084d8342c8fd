import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from forgetfilter.eval.inputs import input_hash
from forgetfilter.eval.judges import JudgeKind
from forgetfilter.eval.stage import EVAL
from plugin import install

from forgetfilter.config import registry
from forgetfilter.storage.run_folder import Run

LABELS = ["toxicity", "insult"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SCORER, JUDGE = "eval.toxicity_scorer=detoxify", "eval.judge.name=coin"


class Checkpoint:
    """A package `detoxify` whose model, labels and tokenizer can be exchanged."""

    def __init__(self, toy_folder: Path) -> None:
        self.model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=300, **SIZES))
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(toy_folder)
        self.labels = LABELS

    def module(self) -> types.ModuleType:
        package: Any = types.ModuleType("detoxify")
        package.Detoxify = lambda variant, device: types.SimpleNamespace(
            model=self.model.to(device), tokenizer=self.tokenizer, class_names=self.labels
        )
        made: types.ModuleType = package
        return made


def other_weights(checkpoint: Checkpoint) -> None:
    with torch.no_grad():
        checkpoint.model.classifier.bias[0] += 1


def other_precision(checkpoint: Checkpoint) -> None:
    checkpoint.model.bfloat16()


def other_config(checkpoint: Checkpoint) -> None:
    checkpoint.model.config.hidden_act = "relu"


def other_labels(checkpoint: Checkpoint) -> None:
    checkpoint.labels = LABELS[::-1]


def other_tokenizer(checkpoint: Checkpoint) -> None:
    checkpoint.tokenizer.add_tokens(["<new>"])


CHANGES = [other_weights, other_precision, other_config, other_labels, other_tokenizer]


@pytest.mark.parametrize("change", CHANGES)
def test_another_detoxify_undoes_the_evaluation_that_it_scored(
    make_run: Any, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Checkpoint], None]
) -> None:
    # Whatever of Detoxify's checkpoint or tokenizer is exchanged, under the same names, is noticed; an evaluation that
    # was done before such files were noted stays done, and one that scores nothing by Detoxify knows nothing of it.
    checkpoint = Checkpoint(toy_folder)
    monkeypatch.setitem(sys.modules, "detoxify", checkpoint.module())
    folder = make_run("scored").folder
    run = Run.open(folder, [SCORER])
    first = EVAL.task(run).foreign()
    assert first and first == EVAL.task(run).foreign() and {"model", "scorer"} == first.keys()
    with run.stage("eval", "hash", foreign={"model": first["model"]}):
        pass
    assert run.is_done("eval", "hash", first)
    run.note_foreign("eval", first)
    change(checkpoint)
    assert run.is_done("eval", "hash", first) and not run.is_done("eval", "hash", EVAL.task(run).foreign())
    for others in ([], [SCORER, "eval.suites=[bias]"]):
        assert EVAL.task(Run.open(folder, others)).foreign() == {"model": first["model"]}


KINDS = """
from forgetfilter.eval.judges import JudgeKind
from forgetfilter.eval.scorers import ScorerKind

class Coin:
    kept, at_once, trouble, identity = False, 1, "", "penny"

JUDGE = JudgeKind("coin", lambda config, ranks: Coin())
SCORER = ScorerKind("shouting", lambda: None, lambda: "loud")
"""
POINTS = "[forgetfilter.judges]\ncoin = coins:JUDGE\n[forgetfilter.scorers]\nshouting = coins:SCORER\n"
OTHERS = ["eval.judge.name=coin", "eval.toxicity_scorer=shouting"]


def forget_members() -> None:
    for kinds in (registry.JUDGES, registry.SCORERS):
        vars(kinds).pop("members", None)


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The metadata of an installed package that brings a judge and a scorer."""
    install(tmp_path / "others", POINTS, coins=KINDS)
    monkeypatch.syspath_prepend(str(tmp_path / "others"))
    forget_members()
    yield tmp_path / "others" / "others-1.2.dist-info" / "METADATA"
    forget_members()


def test_what_a_judge_and_a_scorer_of_another_package_load_counts(
    make_run: Any, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The identities that they state are noted where a suite of the evaluation uses them, and nowhere else.
    run = make_run("plugged")
    known = EVAL.task(Run.open(run.folder, OTHERS)).foreign()
    assert known and (known["judge"], known["scorer"]) == ("penny", "loud")
    kind = registry.JUDGES.find(JudgeKind, "coin", "eval.judge.name")
    monkeypatch.setattr(type(kind.open(run.config.eval.judge, 1)), "identity", "pound")
    now = EVAL.task(Run.open(run.folder, OTHERS)).foreign()
    assert now == known | {"judge": "pound"}
    assert "judge" not in (EVAL.task(Run.open(run.folder, [*OTHERS, "eval.suites=[toxicity]"])).foreign() or {})
    assert "scorer" not in (EVAL.task(Run.open(run.folder, [*OTHERS, "eval.suites=[harmfulness]"])).foreign() or {})


def test_the_version_of_the_package_that_measures_counts(make_run: Any, others: Path) -> None:
    # Another version of the package may judge and score otherwise, so that both suites are measured again; what it has
    # no part in keeps its hash.
    run = make_run("plugged")

    def hashes() -> dict[str, str]:
        evaluation: Any = EVAL.task(Run.open(run.folder, OTHERS))
        return {suite: input_hash(evaluation, "base", suite) for suite in ("toxicity", "harmfulness", "bias", "task")}

    before = hashes()
    others.write_text(others.read_text().replace("1.2", "1.3"))
    assert {suite for suite, known in hashes().items() if known != before[suite]} == {"toxicity", "harmfulness"}
