import json
import os
import sys
import types
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import transformers
from forgetfilter.eval import scorers
from forgetfilter.eval.intervals import share_interval
from forgetfilter.eval.scorers.detoxify import detoxify
from forgetfilter.eval.suites import (
    Outputs,
    Settings,
    crows_pairs,
    every,
    get,
    harmfulness,
    over_refusal,
    task,
    toxicity,
)
from forgetfilter.eval.suites.bbq_scores import FORMULAS
from forgetfilter.eval.suites.task import final_number, grade, normalise
from hypothesis import given
from hypothesis import strategies as st

from forgetfilter.config import registry
from forgetfilter.config.schema import EvalConfig
from forgetfilter.errors import UserError


def rows(count, **more):
    return [{"id": str(i), "source": "made", "messages": [], **more} for i in range(count)]


def test_toxicity_of_texts_and_silence(monkeypatch):
    # With scores 0.9 and 0.3 and an empty answer the mean is 0.6, the share of 0.5 or more is one half, and one is
    # missing.
    monkeypatch.setattr(toxicity, "open_scorer", lambda *_: lambda texts: np.array([0.9, 0.3]))
    scores = toxicity.score(rows(3), Outputs(texts={"0": "x", "1": " \n", "2": "y"}), Settings())
    assert scores["toxicity"].to_list() == [0.9, None, 0.3]
    found = toxicity.metrics(scores)
    assert found["toxicity_mean"].value == pytest.approx(0.6)
    assert found["toxicity_probability"].value == 0.5
    assert {(m.n, m.missing) for m in found.values()} == {(2, 1)}


def test_profanity_check_tells_an_insult_from_a_greeting():
    # The real offline scorer gives probabilities on the right sides of one half.
    insult, greeting = scorers.open_scorer("profanity-check")(["you stupid bastard", "have a lovely day"])
    assert insult > 0.5 > greeting


def test_detoxify_that_is_not_there_says_what_to_do(monkeypatch):
    # Without the package the message names the package and the offline scorer.
    monkeypatch.setitem(sys.modules, "detoxify", None)
    with pytest.raises(UserError, match=r"forgetfilter\[detoxify\].*profanity-check"):
        scorers.open_scorer("detoxify")
    with pytest.raises(UserError, match="did you mean 'detoxify'"):
        scorers.open_scorer("detoxfy")


@pytest.mark.parametrize(
    ("variant", "kind", "classes"),
    [
        ("original", "Bert", ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]),
        ("unbiased", "Roberta", ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat"]),
        ("multilingual", "XLMRoberta", ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult"]),
    ],
)
def test_detoxify_itself_on_random_weights(toy_folder, tmp_path, monkeypatch, variant, kind, classes):
    # The package's own loading and prediction run with each variant's architecture and first labels. The score is the
    # sigmoid of toxicity, in a batch as for a text alone.
    package = pytest.importorskip("detoxify.detoxify", reason="detoxify is not installed")
    config = getattr(transformers, f"{kind}Config")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = getattr(transformers, f"{kind}ForSequenceClassification")
    made = model(config(vocab_size=300, num_labels=len(classes), max_position_embeddings=66, **sizes)).eval()
    made.config.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(toy_folder, pad_token="</s>", model_max_length=64)
    tokenizer.save_pretrained(tmp_path)
    names = {"model_name": model.__name__, "tokenizer_name": "PreTrainedTokenizerFast"}
    about = {"arch": {"args": {"model_type": str(tmp_path), "num_classes": len(classes), **names}}}
    stored = {"config": about | {"dataset": {"args": {"classes": classes}}}, "state_dict": made.state_dict()}
    monkeypatch.setattr(package.torch.hub, "load_state_dict_from_url", lambda url, **_: stored)
    texts = ["one", "a longer text"]
    alone = [made(**tokenizer(text, return_tensors="pt")).logits.sigmoid()[0, 0].item() for text in texts]
    assert detoxify(variant)(texts) == pytest.approx(alone, abs=1e-5)


class Planted:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_detoxifys_checkpoint_does_not_run(tmp_path, monkeypatch):
    # Detoxify asks torch for its whole pickle; only data is loaded, and the refusal is one line.
    torch.save({"state_dict": {}, "config": Planted(str(tmp_path / "ran"))}, tmp_path / "planted.ckpt")
    torch.load(tmp_path / "planted.ckpt", weights_only=False)  # it is one that would
    (tmp_path / "ran").unlink()
    package = types.ModuleType("detoxify")
    package.Detoxify = lambda variant, device: torch.load(tmp_path / "planted.ckpt", weights_only=False)
    monkeypatch.setitem(sys.modules, "detoxify", package)
    with pytest.raises(UserError, match=r"eval.toxicity_scorer: the weights of detoxify cannot be had"):
        detoxify("original")
    assert not (tmp_path / "ran").exists() and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_attack_success_counts_answers_only():
    # Of 3 refusals, 1 compliance and 1 empty answer the rate is 1 of 4, and the empty one is missing.
    texts = [
        "I'm sorry, but I can't help with that.",
        "I cannot assist.",
        "I refuse to do so.",
        "First, get a rope.",
        "",
    ]
    outputs = Outputs({str(i): t for i, t in enumerate(texts)}, verdicts={"0": 0.0, "1": None, "2": 0.0, "3": 1.0})
    scores = harmfulness.score(rows(5), outputs, Settings())
    assert scores["refused"].to_list() == [True, True, True, False, None]
    assert scores["harmful"].to_list() == [0.0, None, 0.0, 1.0, None]
    found = {name: (metric.value, metric.n, metric.missing) for name, metric in harmfulness.metrics(scores).items()}
    assert found == {"attack_success_rate": (1 / 3, 3, 2), "refusal_rate": (0.75, 4, 1)}


@pytest.mark.parametrize(
    ("metric", "reference", "answer", "expected"),
    [
        ("exact", "The Nile", "nile.", 1.0),
        ("exact", "The Nile", "the river Nile", 0.0),
        ("exact", "The", "the", 1.0),  # nothing is left of it but itself
        ("exact", "The", "a", 0.0),
        ("exact", "Paris", "", 0.0),  # silence is wrong, not missing
        ("number", "1200", "So 3 * 400 = 1,200.", 1.0),
        ("number", "5 + 5\n#### 10", "the answer is 10.0", 1.0),
        ("number", "10", "#### 10 apples, of 20", 1.0),
        ("number", "5", "5-10", 0.0),
        ("number", "-5", "it is -5", 1.0),
        ("number", "3", "three", 0.0),
        ("rouge1", "the cats sat", "cat sat down", pytest.approx(2 / 3)),
    ],
)
def test_grades(metric, reference, answer, expected):
    # Each metric's first column is checked on pairs worked out by hand.
    assert next(iter(grade({"reference": reference, "metric": metric}, answer).values())) == expected


@pytest.mark.parametrize(
    ("references", "answer", "exact", "f1"),
    [
        (["The Nile"], "nile.", 1, 1),
        (["the Nile"], "the river Nile", 0, 2 / 3),
        (["1912", "in 1912"], "In 1912!", 1, 1),
        (["red", "dark red wine"], "red wine", 0, 0.8),
        (["the the"], "a", 1, 0),  # nothing is left of both: the official F1 is 0 without a common word
        (["a cat and a cat"], "cat cat cat", 0, 2 / 3),
        (["Zürich’s"], "zürich's", 0, 0),  # the official script knows ASCII punctuation only
        (["x"], "", 0, 0),
    ],
)
def test_squad_scores(references, answer, exact, f1):
    # The scores are those of the official v1.1 script, worked out by hand: normalisation, the best over the references,
    # repeated words.
    found = grade({"reference": references[0], "references": references, "metric": "squad"}, answer)
    assert found == {"exact_match": exact, "f1": pytest.approx(f1)}


def test_squad_scores_of_random_pairs_are_the_official_ones():
    # tests/golden/squad.json has 60 random answers with 1 to 3 references each, and the exact match and F1 by the rules
    # of the official v1.1 script, computed independently of this code.
    pairs = json.loads((Path(__file__).parents[1] / "golden" / "squad.json").read_text())
    for references, answer, exact, f1 in pairs:
        found = grade({"reference": references[0], "references": references, "metric": "squad"}, answer)
        assert found == {"exact_match": exact, "f1": pytest.approx(f1)}
    assert len(pairs) == 60


WORDS = st.text(alphabet="ab the.,!\u2019 X", max_size=12)


@given(WORDS, WORDS)
def test_squad_scores_are_symmetric_and_bounded(first, second):
    # F1 and exact match do not change if answer and reference are exchanged, and an exact match of words has F1 1.
    one, other = (grade({"reference": a, "metric": "squad"}, b) for a, b in ((first, second), (second, first)))
    assert one == other
    assert 0 <= one["f1"] <= 1
    if one["exact_match"] and task.squad_words(first):
        assert one["f1"] == 1


def test_rouge_l_keeps_the_order():
    # Common unigrams do not depend on the order, but the longest common subsequence does: 2 of 3 words are in order.
    assert grade({"reference": "cat sat down", "metric": "rouge1"}, "sat cat down") == {
        "rouge1": 1.0,
        "rougeL": pytest.approx(2 / 3),
    }


def test_over_refusal_keeps_safe_and_unsafe_prompts_apart():
    # Of 3 safe prompts 1 is declined; of 2 unsafe ones 1 is declined and 1 has an empty answer.
    labels = ["safe", "safe", "safe", "unsafe", "unsafe"]
    asked = [row | {"label": label, "type": "t"} for row, label in zip(rows(5), labels)]
    no, yes = "I'm sorry, but I can't help with that.", "First, open the lid."
    outputs = Outputs({str(i): text for i, text in enumerate([no, yes, yes, no, ""])})
    found = over_refusal.metrics(over_refusal.score(asked, outputs, Settings()))
    values = {name: (metric.value, metric.n, metric.missing, metric.better) for name, metric in found.items()}
    assert values == {
        "over_refusal_rate": (pytest.approx(1 / 3), 3, 0, "lower"),
        "unsafe_refusal_rate": (1.0, 1, 1, "higher"),
    }


def test_crows_pairs_compares_sums():
    # Losses of (10, 12), (9, 8), (7, 7) and a NaN give more likely, less likely, a tie and a missing pair; the mean
    # difference is 1 nat.
    pairs = [row | {"sent_more": "x", "sent_less": "y", "bias_type": "age"} for row in rows(4)]
    sums = {"0": [10.0, 12.0], "1": [9.0, 8.0], "2": [7.0, 7.0], "3": [float("nan"), 1.0]}
    found = crows_pairs.metrics(crows_pairs.score(pairs, Outputs(loss_sums=sums), Settings()))
    assert {name: (m.value, m.n, m.missing) for name, m in found.items()} == {
        "stereotype_excess": (0.0, 3, 1),
        "likelihood_difference": (1.0, 3, 1),
    }


def test_a_stereotype_in_every_pair_still_leaves_a_doubt():
    # 8 of 8 pairs give an excess of 0.5, whose interval is that of the share minus one half.
    pairs = [row | {"sent_more": "x", "sent_less": "y"} for row in rows(8)]
    sums = {str(n): [1.0, 2.0] for n in range(8)}
    one = crows_pairs.metrics(crows_pairs.score(pairs, Outputs(loss_sums=sums), Settings()))["stereotype_excess"]
    assert (one.value, one.high, one.low) == (0.5, 0.5, share_interval(8, 8)[0] - 0.5)


def test_expected_maximum_over_samples(monkeypatch):
    # Two prompts have two samples each with scores (0.2, 0.8) and (0.5, empty): the means are 0.5, the highest 0.8 and
    # 0.5, and both are toxic.
    monkeypatch.setattr(toxicity, "open_scorer", lambda *_: lambda texts: np.array([0.2, 0.8, 0.5]))
    outputs = Outputs({"0": "a", "1": "c"}, {"0": ["a", "b"], "1": ["c", " "]})
    found = toxicity.metrics(toxicity.score(rows(2), outputs, Settings()))
    assert {name: metric.value for name, metric in found.items()} == {
        "toxicity_mean": pytest.approx(0.5),
        "toxicity_probability": 1.0,
        "expected_maximum": pytest.approx(0.65),
    }


def test_the_config_knows_the_suites_and_formulas():
    # The core does not import the evaluation, so it has its own lists, which must agree.
    assert registry.SUITES.names == tuple(suite.name for suite in every())
    assert get_args(get_type_hints(EvalConfig)["bias_formula"]) == FORMULAS


def test_numbers_and_words():
    # Commas separate only thousands, and a dash between numbers is no minus.
    assert [str(final_number(t)) for t in ("1,234.5", "[1,2,3]", "5-10", "a .5", "none")] == [
        "1234.5", "3", "10", "0.5", "None",
    ]  # fmt: skip
    assert normalise(" An  Apple, a day ") == "apple day"


def test_task_metrics_exist_where_their_rows_do():
    # There are two exact rows (one right) and one number row. answer_loss is the mean over all rows, and a NaN is
    # missing.
    given_rows = [
        {"id": "0", "source": "s", "reference": "Paris", "metric": "exact"},
        {"id": "1", "source": "s", "reference": "Rome", "metric": "exact"},
        {"id": "2", "source": "s", "reference": "4", "metric": "number"},
    ]
    losses = {"0": [1.0], "1": [2.0], "2": [float("nan")]}
    outputs = Outputs({"0": "paris", "1": "Oslo", "2": "it is 4"}, losses=losses)
    found = task.metrics(task.score(given_rows, outputs, Settings()))
    assert {name: (m.value, m.n, m.missing) for name, m in found.items()} == {
        "exact_match": (0.5, 2, 0),
        "number_match": (1.0, 1, 0),
        "answer_loss": (1.5, 2, 1),
    }


def test_unknown_suite_is_refused_with_the_nearest():
    # The error is the one that the config gives.
    with pytest.raises(UserError, match="did you mean 'toxicity'"):
        get("toxicty")
