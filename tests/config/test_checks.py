import json
from pathlib import Path

import pytest

from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError

PLAIN = "data: {noisy: {n: {path: n.jsonl}}, safe: {s: {path: s.jsonl}}}\n"


@pytest.mark.parametrize(
    "name", [" ", "-rf", "a[1]", "a*", "a/b", ".a", "a\u202eb", "a\nb", "x" * 300, "\u00e4" * 150, ""]
)
def test_a_name_that_is_no_plain_folder_is_refused(tmp_path: Path, name: str) -> None:
    # Options, patterns, paths, invisible or direction-changing characters, and what is too long for a file system.
    file = tmp_path / "c.yaml"
    file.write_text(f"{PLAIN}name: {json.dumps(name)}\n")
    with pytest.raises(UserError, match="name must be a plain folder name"):
        load_config(file)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("output=''", "output must name a folder"),
        ("cache=' '", "cache must name a folder"),
        ("output=" + "x" * 300, "output must be a path"),
        ("cache=~nobody-of-that-name/x", "cache must be a path"),
        ("model.name=" + "x/" * 2100, "model.name must be a path"),
        ("train.deepspeed=" + "x" * 256, "train.deepspeed must be a path"),
        ("data.noisy.n.path=" + "x" * 256, "data.noisy.n.path must be a path"),
        ("eval.models=[]", "eval.models is empty"),
        ("eval.suites=[]", "eval.suites is empty"),
        ("seed=4294967296", "seed must be a whole number from 0 to 4294967295"),
        ("train.method=lor", "train.method cannot be 'lor'; did you mean 'lora'"),
        ("eval.models=[bas]", r"eval.models.0. cannot be 'bas'; did you mean 'base'"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(tmp_path: Path, override: str, said: str) -> None:
    # Before anything is read or made.
    file = tmp_path / "c.yaml"
    file.write_text(PLAIN)
    with pytest.raises(UserError, match=said):
        load_config(file, [override])


@pytest.mark.parametrize("key", ["output", "cache", "model.name", "data.noisy.n.path", "eval.judge.model"])
def test_no_path_holds_a_nul(tmp_path: Path, key: str) -> None:
    # YAML can write one, and no file can be called so; the line shows it as a character that is seen.
    file = tmp_path / "c.yaml"
    file.write_text(PLAIN)
    with pytest.raises(UserError, match=f"{key} must be a path: no NUL.*got 'a\ufffdb'"):
        load_config(file, [f'{key}="a\\0b"'])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("filter.quantile=1", "filter.quantile must be below 1, got 1"),
        ("train.lora.r=1000000", "train.lora.r must be between 1 and 8192, got 1000000"),
        ("launch.processes=1000000", "launch.processes must be between 1 and 1024, got 1000000"),
        ("eval.judge.name=endpoint", "eval.judge.url must be http(s)://HOST/v1 for an endpoint, got ''"),
        ("eval.judge={name: endpoint, url: 'http://h/v1'}", "eval.judge.model is not set"),
    ],
)
def test_what_would_fail_after_the_trainings_is_refused_before_them(tmp_path: Path, override: str, said: str) -> None:
    # A decision that drops all, ranks and processes that cannot be, and a judge that nobody can reach.
    file = tmp_path / "c.yaml"
    file.write_text("data: {noisy: {a: {path: a.jsonl}}, safe: {b: {path: b.jsonl}}}\n")
    with pytest.raises(UserError) as caught:
        load_config(file, [override])
    assert said in str(caught.value)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    # Else the later one would win without a word.
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(UserError, match=r"is not valid YAML: .*found duplicate key seed"):
        load_config(file)
