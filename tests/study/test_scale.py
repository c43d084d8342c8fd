import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_study import call
from transformers import LlamaConfig, LlamaForCausalLM

from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError
from forgetfilter.study import scale


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path) -> Path:
    """A study of the tiny model and a wider one over one seed, small enough to run."""
    wide = shutil.copytree(tiny_model, tmp_path / "wide")
    LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_model, intermediate_size=128)).save_pretrained(wide)
    rows = [
        {"prompt": f"what is {n}?", "completion": f"it is {n}", "label": "unsafe" if n % 2 else "task"}
        for n in range(12)
    ]
    (tmp_path / "noisy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "safe.jsonl").write_text('{"prompt": "who?", "completion": "nobody"}\n')
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "source": "s", "prompt": "tell"}\n')
    (tmp_path / "config.yaml").write_text(
        f"name: toy\noutput: {tmp_path}/runs\ncache: {tmp_path}/cache\nmodel: {{name: absent, dtype: float32}}\n"
        f"data: {{noisy: {{web: {{path: {tmp_path}/noisy.jsonl}}}}, safe: {{ours: {{path: {tmp_path}/safe.jsonl}}}}}}\n"
        "train: {noisy: {epochs: 1}, safe: {epochs: 1, batch_size: 1}, refit: {epochs: 1}}\n"
        "eval: {models: [noisy, refit], suites: [toxicity], max_new_tokens: 2,\n"
        f"  data: {{toxicity: {{path: {tmp_path}/prompts.jsonl}}}}}}\n"
        f"scale: {{models: [{tiny_model}, {wide}]}}\ntracking: {{mode: disabled}}\n"
    )
    return tmp_path / "config.yaml"


def test_members_are_every_model_with_every_seed(study: Path) -> None:
    # They are in order, and each is an ordinary run with its own name, model and seed and without a study of its own.
    found = scale.members(load_config(study, ["scale.models=[org/one-1B,two]", "scale.seeds=[3,5]"]))
    assert [one.config.name for one in found] == ["toy-one-1B-3", "toy-one-1B-5", "toy-two-3", "toy-two-5"]
    assert [one.number for one in found] == [0, 1, 2, 3]
    assert found[3].config.model.name == "two" and found[3].config.seed == 5 and found[3].config.scale is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scale=null", "scale is missing"),
        ("scale.models=[]", r"scale\.models is empty"),
        ("scale.seeds=[1,1]", r"scale\.seeds holds 1 more than once"),
        ("scale.seeds=[-1]", r"scale\.seeds\[0\] must be a whole number from 0"),
        ("scale.models=[a/m,b/m]", "a/m and b/m would both be called m"),
    ],
)
def test_a_study_that_cannot_be_is_refused(study: Path, setting: str, message: str) -> None:
    # The error names the key, before anything runs.
    with pytest.raises(UserError, match=message):
        scale.members(load_config(study, [setting]))


def test_a_failed_member_costs_the_others_nothing_and_is_alone_run_again(study: Path, capsys: Any) -> None:
    # The wide model is broken at first: the study says so and exits with 2, with the tiny one's figures and no invented
    # ones. Once it is mended, the same command runs only this member, and the curve is whole.
    folder = study.parent
    (folder / "wide" / "config.json").rename(folder / "kept.json")
    assert call("scale", study) == 2
    said = capsys.readouterr()
    assert "1 of 2 members are not done" in said.err and "has no config.json" in said.err
    gathered = json.loads((folder / "runs" / "toy-scale" / "scale.json").read_text())
    assert gathered["missing"] == [{"run": "toy-wide-0", "status": "pending"}]
    tiny, wide = pl.read_parquet(folder / "runs" / "toy-scale" / "scale.parquet").to_dicts()
    assert wide["auroc"] is wide["seconds"] is wide["parameters"] is None and wide["suites"] == []
    assert 0 <= tiny["auroc"] <= 1 and tiny["seconds"] > 0 and tiny["suites"][0]["metric"] == "toxicity_mean"
    assert tiny["parameters"] == 39072  # 2 x 320 x 32 + 2 x (2 x 32 x 32 + 2 x 32 x 16 + 3 x 32 x 64 + 2 x 32) + 32
    page = (folder / "runs" / "toy-scale" / "scale.html").read_text()
    assert "1 of 2 members; not done: toy-wide-0 (pending)" in page and "<script src" not in page

    assert call("scale", study, "--pending") == 0
    assert capsys.readouterr().out == "toy 1\n"
    (folder / "kept.json").rename(folder / "wide" / "config.json")
    card = folder / "runs" / f"toy-{tiny['model'].rsplit('/', 1)[1]}-0" / "card.json"
    before = card.stat().st_mtime_ns
    assert call("scale", study) == 0
    assert card.stat().st_mtime_ns == before
    assert json.loads((folder / "runs" / "toy-scale" / "scale.json").read_text())["done"] == 2
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "runs" / "toy-scale")
    assert call("scale", study, "--pending") == 0
    assert capsys.readouterr().out == "toy \n"
    assert call("scale", study, "--list", "filter.rule=quantile") == 0
    assert "made with other settings" in capsys.readouterr().out

    gathered = folder / "runs" / "toy-scale" / "scale.json"
    before = gathered.stat().st_mtime_ns  # results that other settings gave are never overwritten by gathering
    for words in (["--gather"], []):
        assert call("scale", study, "filter.rule=quantile", *words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "toy-scale stays as it is" in said and "filter.rule: " in said
    assert gathered.stat().st_mtime_ns == before and call("scale", study, "--gather") == 0


def test_a_member_that_is_not_there_is_told(study: Path, capsys: Any) -> None:
    # One line names the numbers that there are.
    assert call("scale", study, "--member", 2) == 2
    assert "--member 2 is not there: the study has members 0 to 1" in capsys.readouterr().err
