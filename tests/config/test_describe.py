from dataclasses import fields
from pathlib import Path

from forgetfilter.config.describe import describe, settings
from forgetfilter.config.schema import Config, LoraConfig

ROOT = Path(__file__).parents[2]
HEAD = "# Settings\n\nMade by `forgetfilter config --describe`, from forgetfilter/config/schema.py.\n\n```text\n"


def test_every_setting_has_a_meaning() -> None:
    # Every field of the schema has a docstring, and a section that extends another has those of both.
    lacking = [key for key, _, meaning in settings(Config, "") if not meaning]
    assert lacking == []
    keys = {key for key, _, _ in settings(Config, "")}
    assert {f"train.lora.{one.name}" for one in fields(LoraConfig)} <= keys
    assert {"eval.judge.model", "eval.judge.url", "data.noisy.NAME.path", "mixture.pools.NAME.source.path"} <= keys


def test_a_setting_is_told_with_type_default_bound_and_meaning() -> None:
    # Each of them comes from the one place where it is defined, and fits into 80 columns.
    text = describe()
    assert "train.noisy.lr: number = 0.0002; must be positive\n    Peak learning rate.\n" in text
    assert "train.method: full | lora | qlora = 'lora'\n" in text
    assert "mixture.kind: bias | toxicity | harmfulness; must be set\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_page_of_settings_is_what_the_command_prints() -> None:
    # The page of settings is current; if this fails, run `python tests/config/test_describe.py`.
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == f"{HEAD}{describe()}```\n"


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(f"{HEAD}{describe()}```\n", encoding="utf-8")
