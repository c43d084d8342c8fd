"""The scripts of examples/, run as they stand."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_study import call

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_with_a_trainer_of_ones_own(tmp_path: Path, tiny_model: Path) -> None:
    # The example goes from rows to kept rows: 30% are dropped, and the others stand in the file as they came.
    for name, start, number in (("noisy", 0, 20), ("safe", 50, 6)):
        rows = [{"prompt": f"what is {n}?", "completion": f"it is {n * 7}"} for n in range(start, start + number)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("noisy", "safe", "kept")]
    command = [sys.executable, str(ROOT / "examples" / "own_trainer.py"), str(tiny_model), *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "14 of 20 rows are kept" in done.stdout
    assert {*Path(files[2]).read_text().splitlines()} < {*Path(files[0]).read_text().splitlines()}


def test_models_of_another_trainer_are_scored_and_decided_on(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two models and one file of rows give two logs with the same ids and tokens, by which the filter decides.
    import torch
    from transformers import LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    shape = {"instruction": "what is {}?", "input": "", "output": "it is {}"}
    for name, start, number in (("noisy", 0, 8), ("safe", 50, 4)):
        rows = [{key: text.format(n) for key, text in shape.items()} for n in range(start, start + number)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = shutil.copytree(tiny_model, tmp_path / "other")
    model = LlamaForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.lm_head.weight.mul_(3)
    model.save_pretrained(other)
    for made, log in ((tiny_model, "before"), (other, "after")):
        monkeypatch.setattr("sys.argv", ["score_model.py", str(made), "noisy.jsonl", log])
        runpy.run_path(str(ROOT / "examples" / "score_model.py"))
    words = "--from before after --data noisy.jsonl --safe safe.jsonl filter.rule=top_k filter.top_k=2"
    assert call("filter", *words.split()) == 0
    kept = Path("runs/noisy/filter/export/kept.jsonl").read_text().splitlines()
    assert len(kept) == 6 and {*kept} < {*Path("noisy.jsonl").read_text().splitlines()}
