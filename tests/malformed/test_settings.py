"""Settings that cannot be: each is refused by its key, before anything is read or made."""

import json
from pathlib import Path

import pytest
from malformed.one_line import one_line

from forgetfilter.config.load import load_config

PLAIN = "data: {probe_share: 0, noisy: {n: {path: n.jsonl}}, safe: {s: {path: s.jsonl}}}\n"

OVERRIDES = [
    ("train.noisy.lrr=1", "train.noisy.lrr"),
    ("train.noisy.lrr=1", "'lr'"),
    ("trian.noisy.lr=1", "'train'"),
    ("train.noisy.lr=fast", "train.noisy.lr: Value 'fast'"),
    ("train.noisy.lr=-1", "train.noisy.lr must be positive, got -1"),
    ("train.safe.lr=nan", "train.safe.lr must be positive, got nan"),
    ("train.refit.lr=.inf", "train.refit.lr must be positive, got inf"),
    ("train.noisy.epochs=0", "train.noisy.epochs must be positive, got 0"),
    ("train.noisy.epochs=1" + "0" * 5000, "'train.noisy.epochs=1"),
    ("train=7", "train is a section, got '7'"),
    ("data.noisy.n=n.jsonl", "data.noisy.n is a section, got 'n.jsonl'"),
    ("filter.confidence=sure", "filter.confidence must be auto, average or between 0 and 1, got 'sure'"),
    ("filter.confidence=1.5", "filter.confidence must be auto, average or between 0 and 1, got 1.5"),
    ("train.noisy.warmup_share=1.5", "train.noisy.warmup_share must be between 0 and 1, got 1.5"),
    ("train.noisy.weight_decay=-0.1", "train.noisy.weight_decay must not be negative, got -0.1"),
    ("train.noisy.schedule=linaer", "'linear'"),
    ("train.method=lor", "train.method cannot be 'lor'; did you mean 'lora'"),
    ("train.lora.r=1000000", "train.lora.r must be between 1 and 8192, got 1000000"),
    ("train.lora.r=0", "train.lora.r must be between 1 and 8192, got 0"),
    ("launch.processes=1000000", "launch.processes must be between 1 and 1024, got 1000000"),
    ("launch.processes=-1", "launch.processes must be between 1 and 1024, got -1"),
    ("seed=4294967296", "seed must be a whole number from 0 to 4294967295"),
    ("seed=-1", "seed must be a whole number from 0 to 4294967295"),
    ("data.max_length=1", "data.max_length must be at least 2, got 1"),
    ("data.noisy.a.limit=-1", "data.noisy.a.limit must not be negative, got -1"),
    ("model.dtype=fp8", "model.dtype cannot be 'fp8'"),
    ("filter.signal=loss_raise", "'loss_rise'"),
    ("filter.quantile=30", "filter.quantile must be between 0 and 1, got 30"),
    ("filter.quantile=1", "filter.quantile must be below 1, got 1"),
    ("filter.phi=nan", "filter.phi must be a number, got nan"),
    ("filter.quantile=0.1", "filter.quantile is a setting of the rule quantile"),
    ("filter.signal=excess_rise", "filter.signal=excess_rise needs probes: set data.probes.NAME.path"),
    ("filter.rule=source_budget", "filter.source_budget is empty"),
    ("filter.rule=conformal", "needs at least 20 probes: set data.probes.NAME.path"),
    ("filter.source_budget={toxicity:0.5}", "write a blank after the colon"),
    ("score.guard.name=lama-guard", "score.guard.name cannot be 'lama-guard'; did you mean 'llama-guard'"),
    ("filter.signal=guard", "filter.signal=guard needs score.guard.name=NAME"),
    ("filter.signal=rouge1_drop", "filter.signal=rouge1_drop needs score.rouge=true"),
    ("eval.suites=[bais]", "eval.suites[0] cannot be 'bais'; did you mean 'bias'"),
    ("eval.models=[bas]", "eval.models[0] cannot be 'bas'; did you mean 'base'"),
    ("eval.models=[]", "eval.models is empty"),
    ("eval.suites=[]", "eval.suites is empty"),
    ("eval.judge.name=endpoint", "eval.judge.url must be http(s)://HOST/v1 for an endpoint, got ''"),
    ("eval.judge={name: endpoint, url: 'http://h/v1'}", "eval.judge.model is not set"),
    ("eval.judge.key_variable='sk-1 2'", "eval.judge.key_variable must be the name of a variable"),
    ("eval.judge.url='https://me:pass@host/v1'", "eval.judge.url"),
    ("eval.toxicity_scorer=profanty", "eval.toxicity_scorer cannot be 'profanty'"),
    ("output=''", "output must name a folder"),
    ("cache=' '", "cache must name a folder"),
    ("output=" + "x" * 300, "output must be a path"),
    ("cache=~nobody-of-that-name/x", "cache must be a path"),
    ("model.name=" + "x/" * 2100, "model.name must be a path"),
    ("train.deepspeed=" + "x" * 256, "train.deepspeed must be a path"),
    ("data.noisy.n.path=" + "x" * 256, "data.noisy.n.path must be a path"),
    ("name=a/b", "name must be a plain folder name, got 'a/b'"),
    ("train.noisy.lr", "'train.noisy.lr' is not an override: write key=value"),
    ("=1", "config"),
    ("scale={models: [a], seeds: [0, 0]}", "scale.seeds holds 0 more than once"),
    ("compare.defences=[nosuch]", "compare.defences"),
    ("train.packing=true", "train.packing is called data.packing now"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "said"), OVERRIDES, ids=[override[:30] for override, _ in OVERRIDES])
def test_an_override_that_cannot_be(tmp_path: Path, override: str, said: str) -> None:
    # The line has the key as it was written, and the value or the nearest name.
    file = tmp_path / "c.yaml"
    file.write_text(PLAIN)
    assert said in one_line(lambda: load_config(file, [override]))


NAMES = [" ", "-rf", "a[1]", "a*", "a/b", ".a", "a\u202eb", "a\nb", "a\rb", "a\0b", "x" * 300, "\u00e4" * 150, ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_a_name_that_is_no_plain_folder(tmp_path: Path, name: str) -> None:
    # Options, patterns, paths, invisible or direction-changing characters, and names too long for a file system are
    # refused.
    file = tmp_path / "c.yaml"
    file.write_text(f"{PLAIN}name: {json.dumps(name)}\n")
    assert "name must be a plain folder name" in one_line(lambda: load_config(file))


@pytest.mark.parametrize("key", ["output", "cache", "model.name", "data.noisy.n.path", "eval.judge.model"])
def test_no_path_holds_a_nul(tmp_path: Path, key: str) -> None:
    # A NUL, which YAML can write and no path can hold, is refused and shown as a visible character.
    file = tmp_path / "c.yaml"
    file.write_text(PLAIN)
    said = one_line(lambda: load_config(file, [f'{key}="a\\0b"']))
    assert f"{key} must be a path: no NUL" in said and "got 'a\ufffdb'" in said


FILES = {
    "a list": (b"- 1\n- 2\n", "must hold keys and values"),
    "a number": (b"7\n", "is not valid YAML"),
    "an open list": (b"a: [1", "is not valid YAML"),
    "two colons": (b"a: b: c", "is not valid YAML"),
    "a tab": (b"\t- x", "is not valid YAML"),
    "a key twice": (b"seed: 1\nseed: 2\n", "found duplicate key seed"),
    "no UTF-8": (b"name: \xff\n", "is not valid YAML"),
    "a NUL": (b"name: a\0b\n", "is not valid YAML"),
    "code": (b"name: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    "nothing": (b"", "data.noisy is empty"),
    "nested deep": (b"[" * 5000, "is not valid YAML"),
    "an alias of itself": (b"data: &a {noisy: *a}\n", "is not valid YAML"),
    "an unknown variable": (b"name: ${oc.env:NO_SUCH_VARIABLE_HERE}\n", "NO_SUCH_VARIABLE_HERE is not set"),
    "a reference to itself": (b"name: ${name}\n", "name"),
    "an unknown resolver": (b"name: ${run:ls}\n", "name"),
    "a section that is a number": (b"train: {noisy: [1]}\n", "train.noisy is a section"),
    "a list that is a text": (PLAIN.encode() + b"eval: {models: base}\n", "eval.models"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_configuration(tmp_path: Path, name: str) -> None:
    # PyYAML's several lines become one, and nothing in the file is run.
    content, said = FILES[name]
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    assert said in one_line(lambda: load_config(file))
