from pathlib import Path

from forgetfilter.files import write_json
from forgetfilter.storage.stage import Stage, Task
from forgetfilter.study import shared


class Nothing(Task):
    """Of the stage nothing but its files counts here."""

    def inputs(self) -> object:
        return None

    def work(self) -> None:
        pass


STAGE = Stage("train-noisy", lambda run: Nothing(), files=("train/noisy/model",), folder="train/noisy")


def made(folder: Path, text: str, **entry: object) -> Path:
    """A run folder with a trained model, and its state."""
    model = folder / "train" / "noisy" / "model"
    (model.parent / "checkpoints").mkdir(parents=True)
    model.write_text(text)
    write_json(folder / "state.json", {"train-noisy": {"status": "done", "input_hash": "a", "foreign": None} | entry})
    return folder


def test_a_stage_is_found_by_its_inputs_alone(tmp_path: Path) -> None:
    # A stage with other inputs, with other files from outside, half done, or done and lost is not taken over.
    right = made(tmp_path / "right", "M1")
    wrong = [
        made(tmp_path / "inputs", "", input_hash="b"),
        made(tmp_path / "foreign", "", foreign={"model": "other"}),
        made(tmp_path / "running", "", status="running"),
        made(tmp_path / "lost", ""),
        tmp_path / "absent",
    ]
    (tmp_path / "lost" / "train" / "noisy" / "model").unlink()
    assert shared.find(STAGE, "a", None, wrong) is None
    found = shared.find(STAGE, "a", None, [*wrong, right])
    assert found is not None and found[0] == right


def test_what_is_linked_outlives_its_peer(tmp_path: Path) -> None:
    # The files replace what was there, without copies and without checkpoints. A file that is replaced in one run stays
    # unchanged in the other.
    peer, own = made(tmp_path / "peer", "M1"), made(tmp_path / "own", "old")
    target = own / "train" / "noisy"
    shared.link(peer / "train" / "noisy", target, own / shared.SCRATCH)
    assert (target / "model").read_text() == "M1" and not (target / "checkpoints").exists()
    assert (target / "model").samefile(peer / "train" / "noisy" / "model") and not (own / shared.SCRATCH).exists()
    (peer / "train" / "noisy" / "model").unlink()
    (peer / "train" / "noisy" / "model").write_text("anew")
    assert (target / "model").read_text() == "M1"
