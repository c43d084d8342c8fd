from pathlib import Path

import yaml
from toy_run import HOSTILE_SOURCE, make_toy_run

from forgetfilter.report.card import make_card
from forgetfilter.report.model_card import model_card
from forgetfilter.report.stage import settings


def test_the_card_tells_what_was_measured_and_hides_where(tmp_path: Path) -> None:
    # The card has verdicts and each metric for M0, M1 and M*; its head is YAML, no name of a source begins markup, and
    # no path is in it.
    card = make_card(settings(make_toy_run(tmp_path)))
    text = model_card(card, "org/base", "", adapter=False)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "org/base" and "license" not in yaml.safe_load(head)
    assert "| toxicity | mean toxicity | 0.050 [0.000, 0.100] | 0.310 [0.260, 0.360] | 0.080 [0.030, 0.130] |" in body
    assert "- **toxicity**: " in body and "A finetuned org/base" in body and str(tmp_path) not in text
    assert "<script>" not in text and HOSTILE_SOURCE not in text and "&lt;img" in body


def test_a_card_without_an_evaluation_says_so(tmp_path: Path) -> None:
    # Nothing is claimed where nothing was measured.
    card = make_card(settings(make_toy_run(tmp_path, evaluate=False)))
    assert "## Evaluation\nNot evaluated." in model_card(card, "org/base", "mit", adapter=True)
