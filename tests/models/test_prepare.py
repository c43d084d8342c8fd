import importlib
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.config.load import load_config
from forgetfilter.data import token_files
from forgetfilter.data.records import make_records, write_records
from forgetfilter.models.prepare import prepare_before_launch, prepare_tokens
from forgetfilter.models.settings import ModelSettings
from forgetfilter.storage.run_folder import Run


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Run:
    (tmp_path / "config.yaml").write_text(
        f"output: {tmp_path}/runs\ncache: {tmp_path}/cache\nmodel: {{name: {tiny_model}}}\n"
        "data: {noisy: {toy: {path: x}}, safe: {toy: {path: x}}}\neval: {models: [base]}\n"
    )
    run = Run.create(load_config(tmp_path / "config.yaml"))
    turns = [[{"role": "assistant", "content": f"word {number}"}] for number in range(3)]
    write_records(run.noisy_data, make_records((messages, "toy", None) for messages in turns))
    return run


class Joined(Exception):  # noqa: N818
    """The ranks meet."""


@pytest.mark.parametrize(
    "module", ["forgetfilter.train.__main__", "forgetfilter.score.__main__", "forgetfilter.eval.__main__"]
)
def test_a_node_is_prepared_before_its_ranks_meet(run: Run, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    # When the process group is joined, the model's hash and, if the stage has data, the tokens are in the cache
    # already.
    main = importlib.import_module(module)

    @contextmanager
    def join(timeout: float) -> Iterator[None]:
        assert len(list((run.folder.parents[1] / "cache" / "hashes").glob("*.json"))) == 1
        if "eval" not in module:
            assert len(list((run.folder.parents[1] / "cache" / "tokenised").glob("*/summary.json"))) == 1
        raise Joined
        yield

    monkeypatch.setattr(main, "process_group", join)
    monkeypatch.setattr(main.interrupts, "install", lambda: None)
    with pytest.raises(Joined):
        main.main([str(run.folder), *(["noisy"] if "train" in module else [])])


@pytest.mark.parametrize("stage", ["train", "score"])
def test_rows_are_cut_to_the_models_context(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    # The model has 512 positions and data.max_length is 1024: training and scoring cut to the 512, and say whose bound
    # it is; with data.max_length below it the bound is the user's own.
    chat = [{"role": "user", "content": "word"}, {"role": "assistant", "content": "word " * 600}]
    write_records(run.noisy_data, make_records([(chat, "toy", None)]))
    model, launched = ModelSettings.of(run.config), list[str]()
    monkeypatch.setattr("forgetfilter.process.launch.launch", lambda module, *_, **__: launched.append(module))
    for most, bound in ((1024, "512 tokens, the model's context"), (512, "512 tokens"), (60, "60 tokens")):
        task: Any = importlib.import_module(f"forgetfilter.{stage}.stage")
        own = Run.open(run.folder, [f"data.max_length={most}"])
        (task.settings(own, "noisy") if stage == "train" else task.settings(own)).work()
        said = " ".join(capsys.readouterr().err.split())
        assert f"1 of them cut to {bound} noisy.jsonl: 1 rows have answers" in said
        assert prepare_tokens(model, run.noisy_data, most).lengths().tolist() == [min(512, most)]
    assert launched == [f"forgetfilter.{stage}.__main__"] * 3


def test_what_is_not_learned_is_told_before_the_training(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    # It is said how many rows have text of an answer behind the cut, and how many have turns of the assistant that are
    # only context.
    turns = [{"role": ("user", "assistant")[place % 2], "content": "word"} for place in range(4)]
    chats = [turns, [turns[0], {"role": "assistant", "content": "word " * 40}]]
    write_records(run.noisy_data, make_records((chat, "toy", None) for chat in chats))
    prepare_before_launch(ModelSettings.of(run.config), run.noisy_data, 60)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 examples," in said and "1 of them cut to 60 tokens" in said
    assert "1 rows have answers that go on behind the cut" in said
    assert "in 1 rows turns of the assistant are not learned and not scored" in said


def _tokenise(folder: str, notes: str) -> None:
    """A rank: says so where it is the one that tokenises."""
    write = token_files._write

    def noted(*args: Any) -> Any:
        with open(notes, "a") as file:
            file.write("written\n")
        return write(*args)

    run = Run.open(Path(folder))
    token_files._write = noted  # type: ignore[assignment]
    assert len(prepare_tokens(ModelSettings.of(run.config), run.noisy_data, run.config.data.max_length)) == 3


def test_one_of_a_nodes_ranks_tokenises(run: Run, tmp_path: Path) -> None:
    # If three processes need the tokens at once, one of them writes them and all have them.
    notes = tmp_path / "notes"
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_tokenise, args=(str(run.folder), str(notes))) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert notes.read_text().splitlines() == ["written"]
    assert json.loads(next((tmp_path / "cache" / "tokenised").glob("*/summary.json")).read_text())["rows"] == 3
