import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from faults.toy import write_inputs
from forgetfilter.train import finetuning
from safetensors.torch import save_file

from forgetfilter import cli
from forgetfilter.cli import determinism
from forgetfilter.storage.shards import LOSS_SCHEMA, shard_path, write_shard


def check(capsys: Any, *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["run", *map(str, words), "--check-determinism"])
    said = capsys.readouterr()
    return end.value.code, said.out.strip(), said.err


def test_the_same_seed_gives_the_same_model_and_nothing_is_left(
    tmp_path: Path, tiny_model: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One line says so. Neither a run folder nor a scratch folder is there afterwards; and a run that is there already
    # lends its data, and stays as it is.
    config = write_inputs(tmp_path, tiny_model)
    code, out, _ = check(capsys, config)
    assert (code, out) == (0, "3 steps at most on 12 rows, twice with seed 0: equal to the bit")
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(SystemExit):
        cli.main(["mix", str(config)])
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("runs/**/*")}
    monkeypatch.setattr("forgetfilter.mix.stage.mix", None)
    code, out, _ = check(capsys, tmp_path / "runs" / "toy")
    assert (code, out.splitlines()[-1]) == (0, "3 steps at most on 12 rows, twice with seed 0: equal to the bit")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("runs/**/*")} == files


def test_what_differs_is_told(tmp_path: Path, tiny_model: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Something that ignores the seed, here the beginning of the adapter, ends in exit code 2 and one line.
    real, seeds = finetuning.trainable, itertools.count()

    def seeded_anew(*given: Any) -> torch.nn.Module:
        torch.manual_seed(next(seeds))
        return real(*given)

    monkeypatch.setattr(finetuning, "trainable", seeded_anew)
    code, out, said = check(capsys, write_inputs(tmp_path, tiny_model), "train.noisy.batch_size=2")
    (line,) = [line for line in said.splitlines() if line.startswith("forgetfilter: ")]
    assert code == 2 and out == "" and list((tmp_path / "runs").iterdir()) == []
    assert line.startswith(
        "forgetfilter: --check-determinism: 3 steps at most on 6 rows, twice with seed 0: the losses"
    )
    assert "of 8 trained tensors" in line and line.endswith("see docs/runs.md, Determinism")


def trained(folder: Path, losses: list[float], weights: torch.Tensor) -> Path:
    """A folder as a training leaves it: rows of 4 tokens each, and weights."""
    own = {"id": ["a", "b"], "source": ["s", "s"], "num_tokens": [4, 4], "loss_sum": losses}
    table = pa.table(own | {name: [0, 0] for name in ("rank", "step", "epoch")}, schema=LOSS_SCHEMA)
    write_shard(shard_path(folder / "losses", 0, 1), table)
    save_file({"w": weights, "v": torch.ones(2)}, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(("off", "by", "exact", "tolerated"), [
    (0.0, 0.0, True, True), (1e-12, 0.0, False, True), (0.04, 0.0, False, True), (0.12, 0.0, False, False),
    (0.0, 0.1, False, True), (0.0, 1.0, False, False), (0.0, float("nan"), False, False),
])  # fmt: skip
def test_a_gpu_may_differ_a_little(tmp_path: Path, off: float, by: float, exact: bool, tolerated: bool) -> None:
    # 0.04 of 4 tokens are 0.01 nats each, within 0.02; weights of length 5 that are 0.1 apart are 2% apart, within 5%.
    # A CPU must be equal to the bit.
    first = trained(tmp_path / "first", [1.0, 2.0], torch.tensor([3.0, 14.0**0.5]))
    second = trained(tmp_path / "second", [1.0, 2.0 + off], torch.tensor([3.0 + by, 14.0**0.5]))
    found = determinism.difference(first, second)
    assert (found.rows, found.other_rows) == (2, int(off > 0)) and found.loss == pytest.approx(off / 4)
    assert (found.tensors, found.other_tensors) == (2, int(by != 0))
    assert found.weights == pytest.approx(by / 5, nan_ok=True)
    assert found.allowed(exact=False) == tolerated and found.allowed(exact=True) == exact
