"""What a configuration takes from the environment stays out of what is written of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from forgetfilter.config.load import load_config, to_dict, to_written, to_yaml
from forgetfilter.config.references import find_references, fingerprint
from forgetfilter.errors import UserError, masked
from forgetfilter.storage.run_folder import Run

TEXT = """\
name: ${oc.env:WHO}
output: OUT
model: {name: "${oc.env:MODEL}"}
data:
  noisy: {a: {path: a.jsonl}}
  safe: {b.c: {path: "${oc.env:PLACE}/b.jsonl"}}
  probes: ${data.safe}
train: {noisy: {lr: "${oc.env:RATE}"}}
eval: {judge: {url: "https://me:${oc.env:WORD}@host/v1", labels: ["${oc.env:MODEL}"]}}
"""
ENVIRONMENT = {"WHO": "r", "MODEL": "m-1", "PLACE": "/secret", "RATE": "0.5", "WORD": "pa55word"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "c.yaml"
    path.write_text(TEXT.replace("OUT", str(tmp_path)))
    return path


def test_a_text_is_written_as_its_reference_and_a_number_as_its_value(file: Path) -> None:
    # This holds in sections, lists, names with dots, and sections that stand for others. The run's name is that of its
    # folder.
    config = load_config(file)
    written = yaml.safe_load(to_yaml(config))
    assert written == to_written(config)
    assert written["name"] == "r" and written["train"]["noisy"]["lr"] == 0.5
    assert written["model"]["name"] == "${oc.env:MODEL}" == written["eval"]["judge"]["labels"][0]
    assert written["data"]["safe"]["b.c"]["path"] == "${oc.env:PLACE}/b.jsonl"
    assert written["data"]["probes"] == written["data"]["safe"]
    assert written["eval"]["judge"]["url"] == "https://me:${oc.env:WORD}@host/v1"
    assert to_dict(config)["eval"]["judge"]["url"] == config.eval.judge.url == "https://me:pa55word@host/v1"


def test_what_is_written_loads_to_the_same(file: Path, tmp_path: Path) -> None:
    # This holds in the same environment.
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(load_config(file)))
    assert to_dict(load_config(again)) == to_dict(load_config(file))


def test_another_value_is_another_run_unless_it_is_a_password(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With another password the same command finds its run. Another model or rate is refused by its key, without its
    # value.
    run = Run.create(load_config(file))
    with run.stage("mix", "hash"):
        pass
    assert Run.create(load_config(file)).folder == run.folder
    monkeypatch.setenv("WORD", "pa55word-2")
    assert Run.create(load_config(file)).folder == run.folder
    monkeypatch.setenv("MODEL", "m-2")
    monkeypatch.setenv("RATE", "0.25")
    with pytest.raises(UserError) as caught:
        Run.create(load_config(file))
    assert "train.noisy.lr: 0.5 -> 0.25; eval.judge.labels.0: another value than it was made" in str(caught.value)
    assert "model.name: another value than it was made with)" in str(caught.value) and "m-2" not in str(caught.value)
    Run.create(load_config(file), resume=True)
    assert Run.create(load_config(file)).config.model.name == "m-2"
    files = [path.read_text() for path in run.folder.rglob("*") if path.is_file()]
    assert not [text for text in files if any(word in text for word in ("m-1", "m-2", "/secret", "pa55word"))]


def test_a_value_in_the_place_of_its_reference_is_the_same_run(file: Path) -> None:
    # The other way round it is too, and the reference is written from then on.
    run = Run.create(load_config(file, ["model.name=m-1"]))
    with run.stage("mix", "hash"):
        pass
    Run.create(load_config(file))
    assert "name: ${oc.env:MODEL}" in (run.folder / "config.yaml").read_text()
    Run.create(load_config(file, ["model.name=m-1"]))
    with pytest.raises(UserError, match=r"model\.name: "):
        Run.create(load_config(file, ["model.name=m-3"]))


@pytest.mark.parametrize("url", ["https://me:pa55word@host/v1", "https://token@host/v1", "http://:pa55word@host"])
def test_a_password_in_the_clear_is_refused(file: Path, url: str) -> None:
    # It would be written wherever the settings are. The line says what to write and does not repeat the password.
    with pytest.raises(UserError, match=r"eval\.judge\.url='\$\{oc\.env:VARIABLE\}'$") as caught:
        load_config(file, [f"eval.judge.url={url}"])
    assert "pa55word" not in str(caught.value) and "token" not in str(caught.value)
    assert load_config(file, ["eval.cue=mail https://me:you@host"]).eval.cue  # a text is no address


def test_a_variable_that_is_not_set_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The line names the key that needs it too.
    monkeypatch.delenv("WORD")
    with pytest.raises(UserError, match=r"^eval\.judge\.url: the environment variable WORD is not set"):
        load_config(file)


def test_a_section_from_the_environment_is_refused() -> None:
    # Otherwise nobody could tell which of its values came from there.
    written: Any = {"model": "${oc.decode:${oc.env:X}}"}
    with pytest.raises(UserError, match=r"^model: a whole section cannot be taken from elsewhere"):
        list(find_references(written, {"model": {"name": "m"}}))


def test_a_key_in_the_place_of_its_variables_name_is_not_repeated(file: Path) -> None:
    # This is a common mistake.
    with pytest.raises(UserError, match=r"eval\.judge\.key_variable must be the name") as caught:
        load_config(file, ["eval.judge.key_variable=sk-very-secret"])
    assert "sk-very" not in str(caught.value)


def test_a_url_is_shown_and_compared_without_its_user() -> None:
    # A password may hold an @. A mail address or a port is no user.
    assert masked("no https://me:p@ss@host:8/a@b here") == "no https://***@host:8/a@b here"
    assert masked("me@host http://host:8/v1?x=a@b") == "me@host http://host:8/v1?x=a@b"
    assert fingerprint("https://a:b@h/v1") == fingerprint("https://c:d@h/v1") != fingerprint("https://h/v2")
