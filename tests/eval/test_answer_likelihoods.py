"""forgetfilter.eval.answer_likelihoods on tiny models: a shared prompt changes no answer's loss."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from forgetfilter.eval import answer_likelihoods
from forgetfilter.eval.answer_likelihoods import can_share, score_batch, score_groups
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from forgetfilter.data.turns import Encoded, Turns, after_prompt
from forgetfilter.models.example_losses import attach
from forgetfilter.models.loss_pass import LossPass
from forgetfilter.process.distributed import World
from forgetfilter.storage.shards import scan_shards

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def tiny(attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SETTINGS, attn_implementation=attention)).to(dtype).eval()


def random_groups(seed: int = 0) -> list[list[Encoded]]:
    """Prompts of 1 to 30 tokens; 1 to 4 answers of 1 to 9 tokens, some of which begin alike."""
    rng = np.random.default_rng(seed)
    groups = []
    for prompt_length, answers in ((12, 3), (30, 4), (1, 3), (2, 2), (7, 1), (20, 3)):
        prompt = rng.integers(0, 97, prompt_length).tolist()
        first = rng.integers(0, 97, 4).tolist()
        tails = [rng.integers(0, 97, rng.integers(1, 10)).tolist() for _ in range(answers)]
        whole = [prompt + (first if n % 2 else []) + tail for n, tail in enumerate(tails)]
        groups.append([after_prompt(ids, prompt_length) for ids in whole])
    return groups


@torch.no_grad()
def own_loss(model: Any, ids: list[int], turns: Turns) -> float:
    """The sum over the answer by transformers' own loss, one answer alone."""
    [(num_prompt, _)] = turns
    tokens = torch.tensor([ids])
    labels = tokens.clone()
    labels[:, :num_prompt] = -100
    return float(model(input_ids=tokens, labels=labels).loss) * (len(ids) - num_prompt)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_answers_that_share_a_prompt_have_the_losses_they_have_alone(attention: str) -> None:
    # The losses equal transformers' own to 1e-5 in float32, for prompts of one token, single answers and answers of any
    # length.
    model, groups = tiny(attention), random_groups()
    expected = [own_loss(model, *answer) for group in groups for answer in group]
    detach = attach(model)
    assert can_share(model, groups, CPU, packing=True)
    for share in (True, False):
        loss_sum, num_tokens = score_batch(model, groups, CPU, packing=True, share=share)
        assert loss_sum.tolist() == pytest.approx(expected, rel=1e-5)
        assert num_tokens.tolist() == [len(ids) - turns[0][0] for group in groups for ids, turns in group]
    detach()


def test_bfloat16_is_as_near_as_packing() -> None:
    # Low precision rounds differently in other shapes; the losses stay within the tolerance that packing has.
    model, groups = tiny(dtype=torch.bfloat16), random_groups()
    detach = attach(model)
    assert can_share(model, groups, CPU, packing=True)
    shared, alone = (score_batch(model, groups, CPU, True, share)[0] for share in (True, False))
    detach()
    assert shared.tolist() == pytest.approx(alone.tolist(), rel=2e-2)


def test_prompts_that_were_cut_apart_share_what_is_left_in_common() -> None:
    # A long answer shortens its prompt from the left, so the texts differ from the first token on, and nothing is
    # shared.
    model = tiny()
    cut = [[([1, 2, 3, 4, 5], 4), ([2, 3, 4, 6, 7], 3)], [([9, 8, 7], 2), ([9, 8, 6, 5], 2)]]
    groups = [[after_prompt(*answer) for answer in group] for group in cut]
    expected = [own_loss(model, *answer) for group in groups for answer in group]
    detach = attach(model)
    loss_sum, _ = score_batch(model, groups, CPU, True, share=True)
    detach()
    assert loss_sum.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_model_with_a_sliding_window_shares_nothing() -> None:
    # A mask that is passed in would silently switch off the window and change the losses.
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SETTINGS, sliding_window=8)).eval()
    detach = attach(model)
    assert not can_share(model, random_groups(), CPU, packing=True)
    detach()


def test_a_resume_writes_the_same_rows(tmp_path: Path) -> None:
    # Every answer is there once, and a run that finds a shard of an earlier one already there ends with the same rows.
    model, groups = tiny(), random_groups()
    keys = pa.table({"name": [f"{g}-{a}" for g, group in enumerate(groups) for a in range(len(group))]})

    def rows(folder: Path) -> list[tuple[Any, ...]]:
        score_groups(model, groups, keys, folder, LossPass(60, shard_rows=1), World(0, 1, 0), "toy")
        return scan_shards(folder).select("name", "num_tokens", "loss_sum", "step").sort("name").collect().rows()

    alone = rows(tmp_path / "one")
    assert len(alone) == keys.num_rows == len({name for name, *_ in alone})
    (tmp_path / "half").mkdir()
    first = pl.read_parquet(next((tmp_path / "one").rglob("part-00000.parquet")))
    part = tmp_path / "half" / "rank=00000" / "part-00000.parquet"
    part.parent.mkdir()
    first.write_parquet(part)
    assert rows(tmp_path / "half") == alone


def test_fewer_tokens_are_computed() -> None:
    # Three answers of 5 tokens to a prompt of 50 take 50 + 3 * 5 tokens and two more copies of the prompt's last token.
    group = [after_prompt([7] * 50 + [number] * 5, 50) for number in range(3)]
    assert answer_likelihoods.collate_shared([group])["input_ids"].shape == (1, 67)
