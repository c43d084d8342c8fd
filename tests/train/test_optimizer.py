"""Full finetuning in bfloat16 with float32 copies in the optimizer, by each optimizer that there is."""

import io
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import polars as pl
import pytest
import torch
from forgetfilter.train import optimizer as masters
from forgetfilter.train.optimizer import MASTERS, has_half, with_masters
from safetensors.torch import load_file

from forgetfilter import pipeline
from forgetfilter.errors import Stopped
from forgetfilter.process import interrupts
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged

OPTIMIZERS = ["adamw", "adamw_8bit", "adafactor"]
FULL = ("train.method=full", "train.noisy.lr=3e-4", "train.micro_batch_tokens=60")


def train(run: Run) -> Run:
    pipeline.run_stage(run, pipeline.BY_NAME["train-noisy"])
    return run


@pytest.fixture(scope="module")
def halves(make_shared: Any) -> Callable[[str], Run]:
    """The undisturbed training in bfloat16 by each optimizer, made when it is first asked for."""
    return cache(lambda name: train(make_shared(name, *FULL, f"train.optimizer={name}", "model.dtype=bfloat16")))


def epoch_losses(run: Run) -> list[float]:
    """Nats a token by epoch."""
    ids = [json.loads(line)["id"] for line in run.noisy_data.read_text().splitlines()]
    sums = merged(run.model("noisy") / "losses", ids).group_by("epoch").agg(pl.col("loss_sum", "num_tokens").sum())
    return [row["loss_sum"] / row["num_tokens"] for row in sums.sort("epoch").iter_rows(named=True)]


def test_updates_too_small_for_bfloat16_are_not_lost() -> None:
    # A weight of 1 moved by 1e-4 a hundred times is 0.99; bfloat16 alone would stay at 1, as its steps are 2^-8.
    found = []
    for kind in (torch.optim.SGD, with_masters(torch.optim.SGD)):
        weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        made = kind([{"params": [weight]}], lr=1e-4)
        for _ in range(100):
            weight.grad = torch.ones_like(weight)
            made.step()
        found.append(weight.detach().float())
    assert torch.equal(found[0], torch.ones(3)) and torch.allclose(found[1], torch.full((3,), 0.99), atol=2**-8)


def test_the_steps_are_those_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    # The steps equal those of float32 to the bit, with the same gradients and decay, however many weights are moved
    # together, and a weight without a gradient stays.
    torch.manual_seed(0)
    start = [torch.randn(6, 5).bfloat16() for _ in range(3)]
    gradients = [[torch.randn(6, 5).bfloat16() for _ in start] for _ in range(4)]
    plain = [torch.nn.Parameter(weight.float()) for weight in start]
    reference = torch.optim.AdamW([{"params": plain[:2], "weight_decay": 0.1}, {"params": plain[2:]}], lr=1e-2)
    for step in gradients:
        for weight, gradient in zip(plain[:2], step):
            weight.grad = gradient.float()
        reference.step()
    for at_once in (1, 2**28):
        monkeypatch.setattr(masters, "AT_ONCE", at_once)
        weights = [torch.nn.Parameter(weight.clone()) for weight in start]
        made: Any = with_masters(torch.optim.AdamW)(
            [{"params": weights[:2], "weight_decay": 0.1}, {"params": weights[2:]}], lr=1e-2
        )
        for step in gradients:
            for weight, gradient in zip(weights[:2], step):
                weight.grad = gradient.clone()
            made.step()
        assert all(torch.equal(one, other) for one, other in zip(made.masters, plain))
        assert all(torch.equal(one, other.bfloat16()) for one, other in zip(weights, plain))


def test_a_state_holds_all_that_the_next_step_needs() -> None:
    # A state that went through a file has the copies too, which the weights alone do not tell.
    weights = [torch.nn.Parameter(torch.randn(4, 4).bfloat16()) for _ in range(2)]
    first: Any = with_masters(torch.optim.AdamW)([{"params": [weights[0]]}], lr=1e-3)
    weights[0].grad = torch.randn(4, 4).bfloat16()
    first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second: Any = with_masters(torch.optim.AdamW)([{"params": [weights[1]]}], lr=1e-3)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert len(first.state_dict()[MASTERS]) == 1 and torch.equal(*weights)
    gradient = torch.randn(4, 4).bfloat16()
    for weight, made in zip(weights, (first, second)):
        weight.grad = gradient.clone()
        made.step()
    assert torch.equal(*weights) and torch.equal(first.masters[0], second.masters[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bfloat16_learns_as_float32_does(make_run: Any, halves: Callable[[str], Run], name: str) -> None:
    # The mean loss of each epoch is within 2% of float32's by the same optimizer, and the model that comes out is
    # bfloat16.
    plain, half = train(make_run("plain", *FULL, f"train.optimizer={name}")), halves(name)
    assert epoch_losses(half) == pytest.approx(epoch_losses(plain), rel=0.02)
    assert epoch_losses(half)[1] < epoch_losses(half)[0] - 0.01
    saved = [load_file(run.model("noisy") / "model.safetensors") for run in (plain, half)]
    assert {one.dtype for one in saved[0].values()} == {torch.float32}
    assert {one.dtype for one in saved[1].values()} == {torch.bfloat16}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stopped_training_goes_on_to_the_bit(
    make_run: Any, halves: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A training that a signal stopped in the fifth of eight steps has the same weights and losses as one without it.
    whole = halves(name)
    asked = iter([False] * 4 + [True] * 99)
    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "requested", lambda: next(asked))
        run = make_run("stopped", *FULL, f"train.optimizer={name}", "model.dtype=bfloat16")
        with pytest.raises(Stopped):
            train(run)
    train(run)
    first, second = (load_file(one.model("noisy") / "model.safetensors") for one in (whole, run))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert epoch_losses(whole) == epoch_losses(run) and all(map(math.isfinite, epoch_losses(run)))


def test_only_sixteen_bit_weights_have_copies() -> None:
    # An adapter is float32 on any base, so it has no copies.
    model = torch.nn.Linear(2, 2).bfloat16()
    assert has_half(model)
    assert not has_half(model.requires_grad_(False)) and not has_half(torch.nn.Linear(2, 2))
