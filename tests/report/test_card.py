"""The card: what the kept data was made from, and the metrics before and after the filter."""

import json
import shutil
from pathlib import Path

from toy_run import HOSTILE_SOURCE, make_toy_run

from forgetfilter.files import read_json, sha256_file, write_json
from forgetfilter.report.card import make_card, trained_on, unscored
from forgetfilter.report.stage import settings
from forgetfilter.storage.formats import RefitRows
from forgetfilter.storage.run_folder import Run


def test_card_says_what_made_the_kept_data(toy_run: Run, page: str) -> None:
    # The card's hashes are those of the files, and its numbers those of the summary.
    card = json.loads((toy_run.folder / "card.json").read_text(encoding="utf-8"))
    assert card["hashes"]["filter/kept.jsonl"] == sha256_file(toy_run.kept_data)
    assert len(card["hashes"]) == 5
    assert card["rule"] == {"name": "quantile", "quantile": 0.3} and card["dropped"] == 27
    assert card["by_source"][HOSTILE_SOURCE]["kept"] + card["by_source"][HOSTILE_SOURCE]["dropped"] == 30
    assert card["manifests"]["after"] == {"base_model": "toy-135m", "adapter": "hash-after", "rows": 90}
    assert sorted(card["manifests"]) == ["after", "before"]
    assert card["metrics"]["toxicity"]["mean_toxicity"]["refit"]["value"] == 0.08
    assert card["project"]["version"] == card["versions"]["forgetfilter"] and card["config"]["name"] == "toy"
    assert list(card["time"]) and card["missing"] == []


def test_card_names_every_model_that_had_a_say(tmp_path: Path) -> None:
    # The card has the guard's identity beside those of the two scorings, and counts the rows without its verdict.
    run = make_toy_run(tmp_path, rows=6)
    write_json(run.signals("guard") / "manifest.json", {"guard": "hash-of-guard", "batch": 16})
    summary = json.loads((run.folder / "filter" / "summary.json").read_text())
    write_json(run.folder / "filter" / "summary.json", summary | {"signal": "guard", "unscored": 3, "valueless": 2})
    card = make_card(settings(run))
    assert card["manifests"]["guard"] == {"guard": "hash-of-guard", "batch": 16}
    told = [
        "1 row was kept without a score (no label tokens)",
        "2 rows were kept without a score (no value of guard)",
    ]
    assert unscored(card) == told


def test_card_is_the_same_when_made_again(toy_run: Run) -> None:
    # The card is a function of the run's files.
    assert make_card(settings(toy_run)) == make_card(settings(toy_run))


def test_a_suite_not_run_on_a_model_is_named(tmp_path: Path) -> None:
    # Where a suite was run on some models only, the card says so.
    run = make_toy_run(tmp_path, rows=6)
    shutil.rmtree(run.folder / "eval" / "safe" / "bias")
    assert "The bias suite was not run on: safe." in make_card(settings(run))["missing"]


def test_what_the_rows_held_beside_their_texts_is_told(tmp_path: Path) -> None:
    # The card tells from data/summary.json which rows trusted sets have too, and which fields were in how many rows.
    run = make_toy_run(tmp_path, rows=6)
    summary = read_json(run.folder / "data" / "summary.json")
    fields = {"data.noisy.x": {"left_out": {"score": 2, "na\rme": 3}, "rewritten": {"output": 1}}}
    write_json(run.folder / "data" / "summary.json", summary | {"taken_out": {"safe": 2}, "fields": fields})
    assert make_card(settings(run))["missing"][:3] == [
        "2 rows were left out of the noisy data, because they are in the safe set too.",
        "Fields of data.noisy.x that were not learned: na\ufffdme (3 rows), score (2 rows).",
        "Fields of data.noisy.x that were learned as text: output (1 rows).",
    ]


def test_the_card_shows_the_settings_that_decided(tmp_path: Path) -> None:
    # They are those of summary.json where it has them; a decision of an older version has those of the run's config.
    run = make_toy_run(tmp_path, rows=6, evaluate=False)
    assert make_card(settings(run))["config"]["filter"]["rule"] == "auto"
    file = run.folder / "filter" / "summary.json"
    given = {"signal": "relative_loss_rise", "rule": "quantile", "quantile": 0.3}
    write_json(file, json.loads(file.read_text()) | {"filter": given})
    card = make_card(settings(run))
    assert card["config"]["filter"] == given and card["config"]["seed"] == 0


def test_a_filter_that_dropped_nothing_gets_no_credit() -> None:
    # The refit on every noisy row and the safe set may be safer than M1, and that is the doing of the safe rows alone.
    refit: RefitRows = {"data": "kept_and_trusted", "kept": 60, "trusted": 8, "left_out": {"probes": 0, "twice": 0}}
    whole = "M* was trained on 60 kept rows and 8 rows of the safe set, mixed"
    assert trained_on(refit, 5) == [whole] and trained_on(None, 0) == []
    assert trained_on(refit, 0)[0] == whole and "by the rows of the safe set" in trained_on(refit, 0)[1]
    assert len(trained_on({**refit, "data": "kept", "trusted": 0}, 0)) == 1
