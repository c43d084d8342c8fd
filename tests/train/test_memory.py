"""A memory that is full while a tiny model trains: the steps stay what they were."""

import json
from typing import Any

import polars as pl
import pytest
import torch
from forgetfilter.train.memory import measured_tokens
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from forgetfilter import pipeline
from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import merged

CPU = torch.device("cpu")


def train(run: Run) -> Run:
    pipeline.run_stage(run, pipeline.BY_NAME["train-noisy"])
    return run


def losses(run: Run) -> pl.DataFrame:
    ids = [json.loads(line)["id"] for line in run.noisy_data.read_text().splitlines()]
    return merged(run.model("noisy") / "losses", ids)


class Card:
    """A memory that holds so many tokens of a pass, in a layer's forward pass or in its backward pass: then the
    gradients of the layer behind it are there already."""

    def __init__(self, patch: pytest.MonkeyPatch, holds: int, where: str):
        self.holds, self.where, self.layer, self.fitted, self.full = holds, where, 0, list[int](), 0
        self.original: Any = LlamaMLP.forward
        patch.setattr(LlamaMLP, "forward", lambda module, states: self.forward(module, states))

    def forward(self, module: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
        tokens, output = states.shape[:-1].numel(), self.original(module, states)
        self.layer = 1 - self.layer
        if self.where == "forward":
            self.check(tokens)
        elif self.layer == 1 and output.requires_grad:
            output.register_hook(lambda gradient: self.check(tokens))
        made: torch.Tensor = output
        return made

    def check(self, tokens: int) -> None:
        if tokens > self.holds:
            self.full += 1
            self.layer = 0
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.fitted.append(tokens)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_full_memory_takes_smaller_micro_batches_in_the_same_steps(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str, method: str
) -> None:
    # The losses of all examples, each once an epoch, and the model are those of an ample memory to 1e-4, because sums
    # are added in another order. What was there of a step that broke off counts for nothing, and one line says it.
    given = (f"train.method={method}", "train.lora.dropout=0", "train.micro_batch_tokens=60", "train.noisy.lr=1e-3")
    ample = train(make_run("ample", *given))
    with monkeypatch.context() as patch:
        card = Card(patch, 36, where)
        small = train(make_run("small", *given))
    assert card.full == 1 and max(card.fitted) <= 36
    assert losses(small)["loss_sum"].to_list() == pytest.approx(losses(ample)["loss_sum"].to_list(), rel=1e-4)
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    first, second = (load_file(run.model("noisy") / name) for run in (ample, small))
    assert all(torch.allclose(first[key], second[key], atol=1e-4) for key in first)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the GPU's memory is full with") == 1 and "train.micro_batch_tokens=" in said


def test_a_memory_without_room_for_one_row_ends_in_one_line(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # No smaller micro-batch helps, so one line says which settings do.
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"one row of \d+ tokens: lower data.max_length"),
    ):
        Card(patch, 28, "forward")  # as much as the check of exactness takes
        train(make_run("none"))


def test_the_probe_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    # The probe measures real passes (here by their tokens), and afterwards gradients and random numbers are as before.
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    )
    card, before = Card(monkeypatch, 3000, "backward"), torch.get_rng_state()

    def taken(work: Any, device: torch.device) -> int:
        card.fitted.clear()
        work()
        return card.fitted[-1]

    monkeypatch.setattr("forgetfilter.train.memory.peak_bytes", taken)
    monkeypatch.setattr("forgetfilter.train.memory.free_bytes", lambda device: 4000)
    found = measured_tokens(model, 10, "rows", CPU, None, state_bytes=1000)
    assert found in range(2030, 2050)  # 204 rows fitted and 408 did not
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(before, torch.get_rng_state())
