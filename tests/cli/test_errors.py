"""What the command line says to a mistake: exit 2, exactly one line on stderr, and nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.cli import main

NOISY = [{"prompt": "one", "completion": "1"}, {"prompt": "two", "completion": "2"}]
SAFE = [{"prompt": "three", "completion": "3"}]


class Place:
    """A folder with a config, both sets, and a place for runs."""

    def __init__(self, folder: Path, model: Path):
        self.folder, self.run = folder, folder / "runs" / "r"
        self.write("noisy", NOISY)
        self.write("safe", SAFE)
        self.config = folder / "c.yaml"
        data = {name: {"mine": {"path": str(folder / f"{name}.jsonl")}} for name in ("noisy", "safe")}
        plain = {"name": "r", "output": str(folder / "runs"), "cache": str(folder / "cache"), "data": data}
        plain |= {"model": {"name": str(model), "dtype": "float32"}, "tracking": {"mode": "disabled"}}
        self.config.write_text(json.dumps(plain))  # JSON is YAML

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Place:
    return Place(tmp_path, tiny_model)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*argv: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in argv])
        shown = capsys.readouterr()
        assert ended.value.code == 2, shown.err
        assert len(shown.err.splitlines()) == 1 and shown.err.startswith("forgetfilter: "), shown.err
        assert shown.out == ""
        return shown.err

    return call


def succeeds(*argv: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in argv])
    assert ended.value.code == 0


def nothing_half_written(place: Place) -> None:
    """No run folder, model or temporary file: at most the cache's locks."""
    assert not [*(place.folder / "runs").glob("*")]
    assert not [file for file in place.folder.rglob("*") if file.name.endswith(".tmp")]


def test_a_missing_config_file(refused: Any, tmp_path: Path) -> None:
    # One line names the file, and no run folder is made.
    assert f"{tmp_path / 'none.yaml'} is missing" in refused("run", tmp_path / "none.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["run", "x" * 300], ["report", "a\0b"], ["eval", "--compare", "x" * 300, "b"]])
def test_a_path_that_no_file_can_have(refused: Any, argv: list[str]) -> None:
    # A path that the operating system refuses gives one line and no traceback.
    assert "must be a path: no NUL" in refused(*argv)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.noisy.lrr=1", "'lr'"),
        ("train.noisy.lr=-1", "train.noisy.lr must be positive, got -1"),
        ("lr", "key=value"),
    ],
)
def test_unknown_keys_and_impossible_values(refused: Any, place: Place, override: str, said: str) -> None:
    # A wrong key or value is refused before anything is written.
    assert said in refused("run", place.config, override)
    assert not (place.folder / "runs").exists()


@pytest.mark.parametrize(
    ("noisy", "said"),
    [
        ('{"prompt": "a", "completion": "b"}\n{"prompt": \n', "noisy.jsonl line 2: not valid JSON"),
        ('{"prompt": "a", "completion": "b"}\n{"question": "a", "id": 1}\n', "noisy.jsonl line 2: needs messages"),
        ("", "noisy.jsonl is empty (data.noisy.mine.path)"),
        ("\n\n", "noisy.jsonl is empty (data.noisy.mine.path)"),
        (None, "noisy.jsonl is missing (data.noisy.mine.path)"),
        (json.dumps(SAFE[0]) + "\n", "all rows of the noisy set are in trusted sets too"),
    ],
)
def test_bad_data(refused: Any, place: Place, noisy: str | None, said: str) -> None:
    # The line names the file and row, and once they are put right the same command goes on, because a broken start
    # leaves nothing in its way.
    path = place.folder / "noisy.jsonl"
    path.unlink() if noisy is None else path.write_text(noisy)
    for _ in range(2):
        line = refused("mix", place.config)
        assert said in line
    if "needs messages" in said:
        assert "fields found: id, question" in line
    nothing_half_written(place)
    assert not (place.run / "data" / "safe.jsonl").exists()
    place.write("noisy", NOISY)
    succeeds("mix", place.config)
    assert (place.run / "data" / "noisy.jsonl").read_text().count("\n") == 2


def test_a_model_that_is_not_there(refused: Any, place: Place) -> None:
    # A folder and a name of the hub that are not there each give one line, and the right name afterwards needs no
    # --resume.
    assert "model.name: ./none is not a folder" in refused("run", place.config, "model.name=./none")
    assert "neither a local folder nor to be had from the hub" in refused("run", place.config, "model.name=no-one/none")
    nothing_half_written(place)
    succeeds("mix", place.config)


def test_a_folder_with_other_things_in_it_stays(refused: Any, place: Place) -> None:
    # What a person laid there is not removed, and neither is a run that got somewhere.
    place.run.mkdir(parents=True)
    refused("run", place.config, "model.name=./none")
    assert {path.name for path in place.run.iterdir()} == {"config.yaml"}
    succeeds("mix", place.config)
    refused("filter", place.config)
    assert (place.run / "data" / "noisy.jsonl").exists() and (place.run / "state.json").exists()


def test_a_folder_that_is_no_model(refused: Any, place: Place) -> None:
    # The line says which file is missing.
    assert "has no config.json" in refused("run", place.config, f"model.name={place.folder}")


def test_a_chat_template_that_fails(refused: Any, place: Place) -> None:
    # A template that fails is found in the preflight, before the data is read.
    (place.folder / "t.jinja").write_text("{{ raise_exception('only systems') }}")
    line = refused("run", place.config, f"model.chat_template={place.folder / 't.jinja'}")
    assert "model.chat_template: it fails (only systems)" in line
    nothing_half_written(place)


def test_flash_attention_without_a_gpu(refused: Any, place: Place) -> None:
    # Flash attention without a GPU is refused where a model is to be loaded, but not in the mix, which runs on a node
    # without a GPU.
    line = refused("run", place.config, "model.attention=flash_attention_2")
    assert "model.attention: flash_attention_2 needs a GPU and the flash-attn package" in line
    succeeds("mix", place.config, "model.attention=flash_attention_2", "--resume")


def test_a_run_folder_with_other_settings(refused: Any, place: Place) -> None:
    # The line has the key with both values and both ways out, the run stays as it was, and each way out works.
    succeeds("mix", place.config)
    before = {file: file.read_bytes() for file in place.run.rglob("*") if file.is_file()}
    line = refused("mix", place.config, "seed=5")
    assert "seed: 0 -> 5" in line and "name=NEW" in line and "--resume" in line
    assert {file: file.read_bytes() for file in place.run.rglob("*") if file.is_file()} == before
    succeeds("mix", place.config, "--resume", "seed=5")
    succeeds("mix", place.config, "seed=6", "name=other")


def test_a_stage_before_its_time(refused: Any, place: Place) -> None:
    # The line names the stage that has to be run first.
    assert "stage mix is not done" in refused("train", place.config, "noisy")
    assert "'nosy' is neither a stage nor key=value" in refused("train", place.config, "nosy")
    assert "is no run folder" in refused("filter", place.folder)


def test_settings_of_a_run_folder_are_not_changed_behind_its_back(refused: Any, place: Place) -> None:
    # Settings beside a run folder are refused, because a rank would read the folder's config without them; only the
    # filter can be given its own.
    succeeds("mix", place.config)
    for words in (["train", "noisy"], ["report"], ["report", "--reveal"]):
        assert "'seed=1': " in refused(words[0], place.run, *words[1:], "seed=1")
    said = refused("filter", place.run, "filter.rule=otsu", "train.noisy.lr=1")
    assert "'train.noisy.lr=1': " in said and "only filter.KEY=VALUE can be given here" in said
    assert "stage score is not done" in refused("filter", place.run, "filter.rule=otsu", "launch.nodes=1")


@pytest.mark.parametrize("question", [["--why", "2e66"], ["--review"], ["--review", "5"]])
def test_a_question_about_the_decision_takes_no_settings(refused: Any, place: Place, question: list[str]) -> None:
    # Settings beside a question would be passed over, because the answer is about the decision that is there, so they
    # are refused.
    succeeds("mix", place.config)
    said = refused("filter", place.run, "filter.rule=otsu", *question)
    assert "reads the decision that is there: give filter.rule=otsu without it first" in said


def test_reveal_without_a_question(refused: Any, place: Place) -> None:
    # --reveal alone is refused, because a decision shows no text.
    assert "--reveal shows the texts of --why and --review" in refused("filter", place.run, "--reveal")


@pytest.mark.parametrize("number", ["-3", "0", "few", "1.5"])
def test_a_review_of_no_rows(refused: Any, place: Place, number: str) -> None:
    # A number of rows below one, or none at all, is refused when the words are parsed.
    assert f"--review: must be a number from 1 on, got '{number}'" in refused("filter", place.run, "--review", number)


@pytest.mark.parametrize("argv", [[], ["rnu", "c.yaml"], ["run"], ["run", "c.yaml", "--resmue"], ["doctor", "x"]])
def test_words_that_are_no_command(refused: Any, argv: list[str]) -> None:
    # The parser's own errors are one line too.
    assert "forgetfilter" in refused(*argv)
