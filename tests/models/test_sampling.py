"""Samples: the distribution they are drawn from, and what has no say in them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.models import generation
from forgetfilter.models.generation import Decoding, generate, read_generations
from forgetfilter.models.loading import load_base, load_tokenizer
from forgetfilter.models.sampling import Draw, Sampling, draws, sample_ids
from forgetfilter.storage.shards import read_manifest

CPU = torch.device("cpu")
PROMPTS = [(f"p{(n * 3) % 5}", "made", "word " * n + "say") for n in range(5)]  # ids sort otherwise than the prompts


@pytest.fixture(scope="module")
def toy(tiny_model: Path) -> Any:
    return load_base(tiny_model, "float32", "sdpa", CPU).eval(), load_tokenizer(tiny_model, None)


def drawn_tokens(scores: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    ids = torch.zeros(len(numbers), 3, dtype=torch.long)
    return Draw((numbers[:, None], temperature, top_p), 3, CPU)(ids, scores.expand(len(numbers), -1)).argmax(-1)


def test_tokens_come_as_often_as_they_are_likely() -> None:
    # Over 10,000 evenly spread numbers the share of each token is its probability, at any temperature.
    scores = torch.tensor([0.3, 2.0, -1.0, 1.0, 0.3])
    numbers = (torch.arange(10_000) + 0.5) / 10_000
    for temperature in (1.0, 0.5):
        share = torch.bincount(drawn_tokens(scores, numbers, temperature, 1.0), minlength=5) / 10_000
        assert torch.allclose(share, torch.softmax(scores / temperature, -1), atol=2e-4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12), st.floats(0.01, 1.0), st.floats(0, 1, exclude_max=True))
def test_nothing_outside_the_likeliest_is_drawn(scores: list[float], top_p: float, number: float) -> None:
    # A drawn token is among the fewest most likely ones whose probabilities reach top_p.
    chances = torch.softmax(torch.tensor(scores), -1)
    token = int(drawn_tokens(torch.tensor(scores), torch.tensor([number]), 1.0, top_p))
    assert float(chances[chances > chances[token]].sum()) <= top_p + 1e-5


def test_a_draw_depends_on_seed_prompt_and_number_alone() -> None:
    # A prompt has the same numbers in another order and batch, and others for another seed or sample.
    sampling = Sampling(2, 1.0, 1.0, seed=3)
    first = draws(["a", "a", "b", "b"], sampling, 4)
    assert torch.equal(first[[2, 3, 0, 1]], draws(["b", "b", "a", "a"], sampling, 4))
    assert len({tuple(row.tolist()) for row in [*first, *draws(["a", "a"], Sampling(2, 1.0, 1.0, 4), 4)]}) == 6


def answers(folder: Path, samples: int) -> list[str]:
    return read_generations(folder, sample_ids([id_ for id_, _, _ in PROMPTS], samples))["text"].to_list()


def test_samples_do_not_depend_on_the_batch(toy: Any, tmp_path: Path) -> None:
    # Three samples of five prompts are the same texts in batches of 2 and of 15, and they differ among each other.
    sampling = Sampling(3, 1.0, 0.9, seed=0)
    for name, size in (("small", 2), ("large", 15)):
        generate(*toy, PROMPTS, tmp_path / name, Decoding(8, size, sampling), "test")
    found = answers(tmp_path / "small", 3)
    asked = read_generations(tmp_path / "small", sample_ids([id_ for id_, _, _ in PROMPTS], 3))["prompt"].to_list()
    assert asked == [text for _, _, text in PROMPTS for _ in range(3)]
    assert found == answers(tmp_path / "large", 3) and len(set(found)) > 10
    assert read_manifest(tmp_path / "small")["sampling"] == {"samples": 3, "temperature": 1.0, "top_p": 0.9, "seed": 0}


def test_nothing_is_generated_twice(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another folder finds all answers in the cache under any name of the model; a new prompt or sample is generated
    # alone, and another model or length generates all anew.
    asked: list[int] = []
    real = generation.generate_batch
    monkeypatch.setattr(
        generation, "generate_batch", lambda m, t, texts, *more: asked.append(len(texts)) or real(m, t, texts, *more)
    )

    def count(prompts: Any, name: str, length: int = 6, sampling: Sampling | None = None, **about: str) -> int:
        asked.clear()
        how = Decoding(length, 2, sampling, {"weights": "w"} | about, tmp_path / "cache")
        generate(*toy, prompts, tmp_path / name, how, "test")
        return sum(asked)

    assert count(PROMPTS[:4], "one", state="noisy") == 4
    assert count(PROMPTS[:4], "two", state="base") == 0
    assert read_generations(tmp_path / "one").equals(read_generations(tmp_path / "two"))
    made = real(*toy, [text for _, _, text in PROMPTS[:4]], 6)
    ids = [id_ for id_, _, _ in PROMPTS[:4]]
    assert read_generations(tmp_path / "two", ids).select("text", "num_tokens").rows() == made
    assert count(PROMPTS, "more") == 1
    assert count(PROMPTS, "model", weights="v") == 5 and count(PROMPTS, "length", 7) == 5
    assert count(PROMPTS, "sampled", sampling=Sampling(2, 1.0, 1.0, 0)) == 10
    assert count(PROMPTS, "again", sampling=Sampling(3, 1.0, 1.0, 0)) == 5


def test_prompts_that_do_not_fit_are_counted_and_said(toy: Any, tmp_path: Path, capsys: Any) -> None:
    # A prompt longer than the context is answered after losing its beginning, and the terminal and the manifest count
    # it.
    generate(*toy, [PROMPTS[0], ("long", "made", "the mat " * 600)], tmp_path / "g", Decoding(4, 2), "toxicity of base")
    assert read_manifest(tmp_path / "g")["cut"] == 1
    assert "toxicity of base: 1 of 2 prompts do not fit into the context" in capsys.readouterr().err
