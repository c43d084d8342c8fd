"""Some of the two hundred faults of `make test-faults`, in the stages that take a second or two."""

from pathlib import Path

import pytest
from faults.harness import KINDS, Case, Harness, draw
from faults.toy import STAGES

QUICK = draw(30, seed=24, stages=("score", "filter", "eval", "report"))


@pytest.fixture(scope="module")
def disturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("faults"), tiny_model)


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_the_same_command_ends_as_if_nothing_had_been(disturbed: Harness, case: Case) -> None:
    # The same ids, losses, adapter, decision and metrics come out, after one line, or none where the process was
    # killed.
    assert disturbed.try_case(case) == ""


def test_the_harness_sees_another_outcome(disturbed: Harness) -> None:
    # A missing row, another loss and a traceback would each be told, so the harness is not blind.
    assert disturbed.try_case(Case("report", "clock set back", 0)) == ""
    kept = disturbed.run / "filter" / "kept.jsonl"
    kept.write_bytes(kept.read_bytes()[:-9])
    (disturbed.run / "train" / "refit" / "adapter_model.safetensors").unlink()
    wrong = disturbed._differs(STAGES, disturbed.expected)
    assert wrong == "not as undisturbed: filter/kept.jsonl, train/refit/adapter_model.safetensors"
    assert {case.kind for case in QUICK} == set(KINDS)
