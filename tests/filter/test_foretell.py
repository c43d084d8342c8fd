import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgetfilter.filter.decide import decide
from forgetfilter.filter.stage import settings

from forgetfilter.data.records import write_records

PROBES = 120


@pytest.fixture
def noisy_rises(make_toy: Any) -> Any:
    """200 rows, 60 of them unsafe, which share words, and 120 probes; rises with more noise than sense."""
    random = np.random.default_rng(0)
    unsafe = np.append(random.permutation(np.arange(200) < 60), np.zeros(PROBES, dtype=bool))
    said = (np.array(["hate", "curse", "threat", "mock"]), np.array(["bread", "garden", "river", "music"]))
    rows = []
    for number, bad in enumerate(unsafe):
        words = [*random.choice(said[0 if bad else 1], 3), *random.choice([f"w{n}" for n in range(30)], 6)]
        label = None if number >= 200 else "unsafe" if bad else "safe"
        rise = random.normal(bad, 1)
        rows.append((" ".join([*words, f"n{number}"]), "s", label, 10, 20.0, 20.0 + 10 * max(-1.5, rise)))
    toy = make_toy(rows)
    write_records(toy.folder / "data" / "probes.jsonl", toy.records[-PROBES:])
    toy.run().write_config()
    return toy


def folder(toy: Any, base: str) -> Path:
    return Path(toy.folder / "signals" / "texts" / f"foretold_{base}")


def test_what_rows_have_in_common_takes_the_noise_out(noisy_rises: Any) -> None:
    # The distilled signal ranks far better than the rise alone, without a label or a probe, and a second time gives the
    # same decisions to the last digit.
    (noisy_rises.folder / "data" / "probes.jsonl").unlink()
    rise = decide(noisy_rises.task(signal="loss_rise"))["quality"]["auroc"]
    summary = decide(noisy_rises.task(signal="distilled_rise"))
    assert rise < 0.85 and summary["quality"]["auroc"] > 0.9
    first = noisy_rises.decisions()
    for file in folder(noisy_rises, "loss_rise").glob("*.json"):
        file.unlink()
    decide(noisy_rises.task(signal="distilled_rise"))
    assert noisy_rises.decisions().equals(first)


def test_labels_do_not_steer_it(noisy_rises: Any) -> None:
    # The decisions are the same whatever the labels say.
    decide(noisy_rises.task(signal="distilled_excess", rule="conformal"))
    first = noisy_rises.decisions()
    data = noisy_rises.folder / "data" / "noisy.jsonl"
    rows = [json.loads(line) | {"label": "task"} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    decide(noisy_rises.task(signal="distilled_excess", rule="conformal"))
    assert noisy_rises.decisions().drop("label").equals(first.drop("label"))


def test_forecasts_are_stored_and_made_again_for_other_ranks(noisy_rises: Any) -> None:
    # Another rule takes the stored forecasts; with other probes the ranks are others, so the forecasts are made again.
    run = noisy_rises.run(signal="distilled_excess")
    decide(settings(run))
    manifest = folder(noisy_rises, "pooled_excess") / "manifest.json"
    made = manifest.stat().st_mtime_ns
    decide(noisy_rises.task(signal="distilled_excess", rule="top_k", top_k=5))
    assert manifest.stat().st_mtime_ns == made
    write_records(run.probes, noisy_rises.records[-PROBES + 15 :])
    decide(settings(run))
    assert manifest.stat().st_mtime_ns > made


def test_of_few_rows_the_signal_alone_ranks(make_toy: Any) -> None:
    # With fewer than 100 scored rows the order is that of the losses alone, and a note says so.
    rows = [(f"text {n}", "s", "safe" if n % 2 else "unsafe", 1, 1.0, 1.0 + (n * 7 % 50)) for n in range(50)]
    toy = make_toy(rows)
    toy.run().write_config()
    summary = decide(toy.task(signal="distilled_rise"))
    assert "fewer than 100 scored rows: the signal ranks by the losses alone" in summary["signal_note"]
    order = toy.decisions().sort("score")["id"].to_list()
    assert "signal_note" not in decide(toy.task(signal="loss_rise"))
    assert toy.decisions().sort("score")["id"].to_list() == order


def test_of_clean_data_the_signal_alone_ranks(noisy_rises: Any) -> None:
    # Where the probes show no unsafe rows, words would explain only how harmless rows differ, so the order is that of
    # the losses alone, and a note says so.
    write_records(noisy_rises.folder / "data" / "probes.jsonl", noisy_rises.records[:120])
    summary = decide(noisy_rises.task(signal="distilled_excess"))
    assert "cannot tell the unsafe rows from none" in summary["signal_note"]
    order = noisy_rises.decisions().sort("score")["id"].to_list()
    decide(noisy_rises.task(signal="pooled_excess"))
    assert noisy_rises.decisions().sort("score")["id"].to_list() == order


def test_texts_without_words_leave_the_signal_as_it_is(make_toy: Any) -> None:
    # If no text has a word, a note says that the signal has no forecasts.
    toy = make_toy([("?" * (n + 1), "s", None, 1, 1.0, 1.0 + (n * 7 % 120)) for n in range(120)])
    toy.run().write_config()
    assert "no words were found" in decide(toy.task(signal="distilled_rise"))["signal_note"]


def test_the_texts_are_asked_where_the_losses_tell_unsafe_rows_from_none(make_toy: Any) -> None:
    # If the losses show unsafe rows, the forecasts are used even if no two rows have a word in common.
    random = np.random.default_rng(0)
    rises = [*random.normal(5, 1, 60), *random.normal(0, 1, 260)]
    words = ["".join(map(chr, random.integers(0x4E00, 0x9FA5, 6))) for _ in rises]  # each character is a word
    rows = [(word, "s", None, 10, 50.0, 50.0 + 10 * rise) for word, rise in zip(words, rises)]
    toy = make_toy(rows)
    write_records(toy.folder / "data" / "probes.jsonl", toy.records[-PROBES:])
    toy.run().write_config()
    summary = decide(toy.task(signal="distilled_excess"))
    assert summary.get("signal_note") is None and summary["estimate"]["unsafe"][1] > 0
