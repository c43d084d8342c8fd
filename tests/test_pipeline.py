"""The stages that need no model, on a made-up scored run: what is refused, lost or asked for again."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from forgetfilter import pipeline
from forgetfilter.cli import main
from forgetfilter.config.schema import (
    Config,
    DataConfig,
    FilterConfig,
    RefitConfig,
    ScoreConfig,
    SourceConfig,
    TrackingConfig,
)
from forgetfilter.data.records import make_records, write_records
from forgetfilter.models.disk_space import disk_work
from forgetfilter.storage import sums
from forgetfilter.storage.formats import RefitData
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_lock import held
from forgetfilter.storage.shards import COMPARABLE, LOSS_SCHEMA, shard_path, write_manifest, write_shard

ROWS = 10
DECISION = ("summary.json", "decisions.parquet", "kept.jsonl", "dropped.jsonl")


@pytest.fixture
def scored(tmp_path: Path) -> Run:
    """A run whose ten rows were scored: the n-th was forgotten by n tenths of a nat; the rule drops three."""
    source = {"web": SourceConfig(path="web.jsonl")}
    config = Config(
        name="r",
        output=str(tmp_path),
        data=DataConfig(noisy=source, safe=source),
        filter=FilterConfig(signal="loss_rise", rule="quantile"),
        tracking=TrackingConfig(mode="disabled"),
    )
    run = Run.create(config)
    texts = [[{"role": "assistant", "content": f"SECRET-{n}"}] for n in range(ROWS)]
    records = list(make_records([(text, "web", None) for text in texts]))
    write_records(run.noisy_data, records)
    write_records(run.safe_data, records[:1])
    for state, rise in (("before", 0.0), ("after", 0.1)):
        fixed = {"source": "web", "num_tokens": 1, "rank": 0, "step": 0, "epoch": 0}
        rows = [fixed | {"id": one.id, "loss_sum": 1 + rise * n} for n, one in enumerate(records)]
        write_shard(shard_path(run.signals(state), 0, 0), pa.Table.from_pylist(rows, LOSS_SCHEMA))
        write_manifest(run.signals(state), dict.fromkeys(COMPARABLE, "same"))
    for stage in ("mix", "score"):
        with run.stage(stage, "made up"):
            pass
    return run


def call(*argv: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in argv])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dropped(run: Run) -> int:
    number: int = json.loads((run.folder / "filter" / "summary.json").read_text())["dropped"]
    return number


def test_a_refused_decision_leaves_the_earlier_one(scored: Run) -> None:
    # The files and the record of the earlier decision stay, and later stages go on with it.
    assert call("filter", scored.folder) == 0
    before = contents(scored.folder)
    assert call("filter", scored.folder, "filter.rule=top_k", "filter.top_k=300") == 2
    assert contents(scored.folder) == before


def test_a_new_decision_leaves_the_curve(scored: Run) -> None:
    # The page and table of --sweep are not removed by a decision.
    assert call("filter", scored.folder, "--sweep") == 0
    curve = contents(scored.folder / "filter")
    assert call("filter", scored.folder, "filter.rule=top_k", "filter.top_k=2") == 0
    assert len(curve) == 2 and curve.items() <= contents(scored.folder / "filter").items()
    assert dropped(scored) == 2


@pytest.mark.parametrize("lost", [*(f"filter/{name}" for name in DECISION), "report.html", "card.json"])
def test_a_stage_that_lost_a_file_is_done_again(scored: Run, lost: str) -> None:
    # It was done with the same inputs but lacks a file that it made: the same command makes it again.
    stage = "filter" if lost.startswith("filter") else "report"
    assert call("filter", scored.folder) == call("report", scored.folder) == 0
    before = contents(scored.folder)[scored.folder / lost]
    (scored.folder / lost).unlink()
    assert call(stage, scored.folder) == 0
    assert stage == "report" or (scored.folder / lost).read_bytes() == before
    assert (scored.folder / lost).exists()


def test_the_report_keeps_up_with_the_decision(scored: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # Another decision rewrites page and card where they exist, and makes none where they do not. A refit of the earlier
    # decision is named in both and in the terminal, with the command that mends it.
    assert call("filter", scored.folder) == 0
    assert not (scored.folder / "report.html").exists()
    with scored.stage("train-refit", "of the earlier decision"):
        pass
    assert call("report", scored.folder) == 0
    assert call("filter", scored.folder, "filter.rule=top_k", "filter.top_k=2") == 0
    card = json.loads((scored.folder / "card.json").read_text())
    assert card["dropped"] == dropped(scored) == 2 and card["config"]["filter"]["rule"] == "top_k"
    mend = f"forgetfilter train {scored.folder} refit"
    assert capsys.readouterr().out.splitlines()[-2:] == [mend, str(scored.folder)]
    assert card["stale"]["mend"] == mend and f"<code>{mend}</code>" in (scored.folder / "report.html").read_text()


def test_the_command_report_always_writes_the_page(scored: Run) -> None:
    # Texts that --reveal showed are masked again. Within the pipeline the page may stay.
    page = scored.folder / "report.html"
    for reveal in ([], ["--reveal"], []):
        assert call("filter", scored.folder) == call("report", scored.folder, *reveal) == 0
        assert ('data-reveal="1"' in page.read_text()) == bool(reveal) and "SECRET-9" not in page.read_text()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["decisions.parquet", "dropped.jsonl", "summary.json"])
def test_a_damaged_decision_is_made_again(scored: Run, capsys: pytest.CaptureFixture[str], name: str) -> None:
    # A changed bit, which a reader need not notice, is found: verify names the file, and the same command makes it as
    # it was.
    assert call("filter", scored.folder) == 0
    before = (scored.folder / "filter" / name).read_bytes()
    assert call("verify", scored.folder) == 0 and "4 files of 1 stages are as they were made" in capsys.readouterr().out
    flip(scored.folder / "filter" / name)
    assert call("verify", scored.folder) == 2
    assert f"filter/{name}: not as filter left it" in capsys.readouterr().out
    assert call("filter", scored.folder) == 0
    assert f"filter: filter/{name} is not as the stage left it: done again" in capsys.readouterr().err
    assert (scored.folder / "filter" / name).read_bytes() == before and call("verify", scored.folder) == 0


def test_kept_rows_that_a_person_edited_stay(scored: Run) -> None:
    # The user may change them, and verify says so.
    assert call("filter", scored.folder) == 0
    kept = scored.folder / "filter" / "kept.jsonl"
    edited = b"".join(kept.read_bytes().splitlines(keepends=True)[:-1])
    kept.write_bytes(edited)
    assert call("filter", scored.folder) == 0 and kept.read_bytes() == edited
    assert call("verify", scored.folder) == 2
    assert call("report", scored.folder) == 0
    page, card = ((scored.folder / name).read_text() for name in ("report.html", "card.json"))
    said = "filter/kept.jsonl was edited after the decision"
    assert said in page and said in json.loads(card)["missing"][0]
    kept.unlink()  # the decision's own is made again, and nothing is said
    assert call("filter", scored.folder) == 0
    assert said not in (scored.folder / "card.json").read_text()


def test_a_damaged_report_is_made_again(scored: Run) -> None:
    # A damaged page costs nothing to make again, and one with texts that --reveal showed is made as it was.
    run_report = partial(pipeline.run_stage, Run.open(scored.folder), pipeline.STAGES[-1])
    assert call("filter", scored.folder) == call("report", scored.folder, "--reveal") == 0
    page = scored.folder / "report.html"
    before = page.stat().st_mtime_ns
    assert call("verify", scored.folder) == 0
    page.write_text("")
    run_report()
    assert page.stat().st_size > 10_000 and before < page.stat().st_mtime_ns
    assert call("verify", scored.folder) == 0


def test_signals_that_are_damaged_decide_nothing(scored: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # The filter needs no model, so it cannot make them again. One line names the file and the command that can.
    sums.record(scored.folder, "score", ["signals"])
    assert call("filter", scored.folder) == 0
    flip(shard_path(scored.signals("after"), 0, 0))
    for words in (["filter.quantile=0.2"], ["--sweep"], ["--review"], ["--why", "0"]):
        assert call("filter", scored.folder, *words) == 2
        assert "is not as score left it: forgetfilter run" in capsys.readouterr().err


def test_a_run_folder_is_one_processs(scored: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # A second command is refused with the name of the process that works there. A question that writes nothing is
    # answered.
    assert call("filter", scored.folder) == 0
    first = scored.noisy_data.read_text().splitlines()[0]
    with held(scored.folder):
        assert call("report", scored.folder) == 2
        assert "is being worked on by process" in capsys.readouterr().err
        assert call("filter", scored.folder, "--why", json.loads(first)["id"]) == 0


def test_the_disk_must_hold_a_line_for_each_row_of_each_epoch_and_scoring(tiny_model: Path) -> None:
    # Each epoch logs the rows of its own set, and what the config asks to be scored further logs the noisy rows again.
    rows = {"noisy": 100, "safe": 10, "control": 5}
    plain, control = Config(), {"c": SourceConfig(path="c.jsonl")}
    more = replace(plain, score=ScoreConfig(base=True, noise=True), data=DataConfig(control=control))
    epochs = plain.train.schedule("noisy").epochs
    logged = [disk_work(config, tiny_model, rows, 1).logged for config in (plain, more)]
    assert logged == [epochs * (100 + 10 + 110) + 2 * 100, epochs * (100 + 10 + 5 + 110) + 5 * 100]


@pytest.mark.parametrize(
    ("data", "steps", "logged"), [("kept", 4, 200), ("kept_and_trusted", 6, 220), ("kept_then_trusted", 7, 230)]
)
def test_the_disk_has_room_for_what_the_refit_may_learn(
    data: RefitData, steps: int, logged: int, tiny_model: Path
) -> None:
    # Two epochs of 100 noisy rows in steps of 50; of these and 10 safe ones; or three more of the safe ones at the end.
    refit = RefitConfig(data=data, epochs=2, batch_size=50, trusted_epochs=3)
    train = replace(Config().train, refit=refit)
    work = disk_work(replace(Config(), train=train), tiny_model, {"noisy": 100, "safe": 10}, 1)
    others = sum(train.schedule(name).epochs * rows for name, rows in (("noisy", 100), ("safe", 10))) + 2 * 100
    assert (work.steps[-1], work.logged - others) == (steps, logged)
