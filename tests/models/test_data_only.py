import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from forgetfilter.errors import UserError
from forgetfilter.models.data_only import data_only

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class Planted:
    """A pickle that makes a file."""

    def __init__(self, ran: Path):
        self.ran = ran

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.ran),)


def test_a_planted_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A planted pickle does not run even if the library asks for the whole pickle, as DeepSpeed does, and torch's
    # setting is afterwards as it was before.
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": torch.ones(2), "more": Planted(tmp_path / "ran")}, file)
    monkeypatch.delenv(FORCED, raising=False)
    told = r"^checkpoint-2: a file holds more than data, and was not read: \w+\.mkdir$"
    with pytest.raises(UserError, match=told), data_only(whose="checkpoint-2: a file"):
        torch.load(file, weights_only=False)
    assert not (tmp_path / "ran").exists() and FORCED not in os.environ
    torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists()  # it is one that would


def test_tensors_and_known_classes_are_read(tmp_path: Path) -> None:
    # Tensors and the classes that are named are read, and any other class is refused.
    file = tmp_path / "x.pt"
    torch.save({"a": torch.ones(2), "b": Fraction(1, 3)}, file)
    with data_only(["fractions:Fraction"], "x"):
        assert torch.load(file, weights_only=False)["b"] == Fraction(1, 3)
    with pytest.raises(UserError, match="Fraction"), data_only((), "x"):
        torch.load(file, weights_only=False)
