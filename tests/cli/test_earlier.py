import json
from pathlib import Path

import pytest

from forgetfilter.cli import main
from forgetfilter.storage.run_folder import Run

CONFIG = """name: mine
model: {{name: {model}}}
data: {{noisy: {{a: {{path: noisy.jsonl}}}}, safe: {{b: {{path: safe.jsonl}}}}}}
eval: {{data: {{harmfulness: {{path: asked.jsonl}}}}}}
tracking: {{mode: disabled}}
"""


@pytest.fixture
def mixed(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose data is mixed, and whose config is mine.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in ("noisy", "other", "safe", "asked", "others"):
        rows = [{"prompt": f"{name} {number}", "completion": "a polite answer"} for number in range(3)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("mine.yaml").write_text(CONFIG.format(model=tiny_model))
    assert call("mix", "mine.yaml") == 0
    return Run.open(Path("runs/mine"))


def call(*words: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return ended.value.code or 0


@pytest.mark.parametrize(("words", "changed"), [
    (["train", "mine.yaml", "noisy"], "data.noisy.a.path=other.jsonl"),
    (["train", "mine.yaml", "refit"], "data.safe_tasks=false"),
    (["score", "mine.yaml"], "data.noisy.a.path=other.jsonl"),
    (["filter", "mine.yaml"], "data.noisy.a.path=other.jsonl"),
    (["filter", "mine.yaml", "--sweep"], "data.noisy.a.path=other.jsonl"),
    (["eval", "mine.yaml"], "eval.data.harmfulness.path=others.jsonl"),
])  # fmt: skip
def test_a_stage_of_other_data_than_is_given_is_refused(mixed, capsys, words, changed):
    # The stage would work on the data of before, while config.yaml named the new. One line says what to run, and
    # config.yaml stays.
    before = (mixed.folder / "config.yaml").read_text()
    assert call(*words, changed, "--resume") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"first do it again with `forgetfilter mix mine.yaml {changed} --resume`" in said
    assert (mixed.folder / "config.yaml").read_text() == before


def test_a_changed_source_is_noticed_without_a_changed_setting(mixed, capsys):
    # The file has a row more than when it was mixed.
    with open("noisy.jsonl", "a") as file:
        file.write(json.dumps({"prompt": "one more", "completion": "a polite answer"}) + "\n")
    assert call("train", "mine.yaml", "noisy") == 2
    assert "mix in runs/mine was made with other settings or data" in " ".join(capsys.readouterr().err.split())


def test_a_training_of_other_settings_is_named_before_it_is_scored(mixed, capsys):
    # Here the data is as given, and M1 is recorded with other settings.
    with mixed.stage("train-noisy", "other settings"):
        pass
    assert call("score", "mine.yaml") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "train-noisy in runs/mine was made" in said and "`forgetfilter train mine.yaml noisy --resume`" in said


def test_a_run_folder_is_taken_as_it_is(mixed, capsys):
    # A machine without the sources names the run folder, whose records then stand; only the next stage is missing.
    Path("noisy.jsonl").unlink()
    assert call("filter", "mine.yaml") == 2
    assert "with runs/mine in the place of mine.yaml the run goes on as it is" in " ".join(
        capsys.readouterr().err.split()
    )
    assert call("filter", "runs/mine") == 2
    assert "was made with other settings" not in capsys.readouterr().err
