"""How many examples the stages have, and of how many tokens: counted where the data is at hand, else given."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetfilter.data.records import read_records
from forgetfilter.data.tokens import encode
from forgetfilter.data.turns import label_counts
from forgetfilter.files import read_json
from forgetfilter.storage.formats import RefitData
from forgetfilter.storage.run_paths import RunPaths

SAMPLE = 2000  # rows that are tokenised of each set; the others are taken to be like them
BYTES_A_TOKEN = 5  # of a line of JSON, where no file is at hand


@dataclass(frozen=True)
class Rows:
    """The examples of a set."""

    lengths: NDArray[np.int64]
    """Tokens of each."""
    labels: NDArray[np.int64]
    """Label tokens of each."""
    size: int
    """Bytes of its file."""
    last: int = 0
    """How many of them, at the end, are learned after all the others, in epochs of their own."""

    def __len__(self) -> int:
        return len(self.lengths)


def given_rows(noisy: int, safe: int, tokens: int) -> dict[str, Rows]:
    """Sets of so many rows, each of `tokens` tokens, half of which are learned."""
    sets = {"noisy": noisy, "safe": safe, "control": safe}
    return {name: _alike(np.array([tokens]), np.array([tokens - tokens // 2]), rows) for name, rows in sets.items()}


def _alike(lengths: NDArray[np.int64], labels: NDArray[np.int64], rows: int, size: int = 0) -> Rows:
    """`rows` rows like those of a sample."""
    every, learned = np.resize(lengths, rows).astype(np.int64), np.resize(labels, rows).astype(np.int64)
    return Rows(every, learned, size or int(every.sum()) * BYTES_A_TOKEN)


def counted_rows(paths: RunPaths, tokenizer: Any, max_length: int) -> dict[str, Rows]:
    """The sets that the mix stage has written."""
    counts = read_json(paths.folder / "data" / "summary.json")
    files = {"noisy": paths.noisy_data, "safe": paths.safe_data, "control": paths.control_data}
    found: dict[str, Rows] = {}
    for name, path in files.items():
        if not path.exists():
            continue
        sample = list(islice(read_records(path), SAMPLE))
        encoded = encode(tokenizer, [one.messages for one in sample], max_length, [one.learn for one in sample])
        lengths = np.array([len(one.ids) for one in encoded])
        labels = np.array([sum(label_counts(one.turns)) for one in encoded])
        found[name] = _alike(lengths, labels, counts[name]["rows"], path.stat().st_size)
    return found


def refit_rows(noisy: Rows, safe: Rows, data: RefitData) -> Rows:
    """The most rows that the refit may learn: all noisy ones, as if none were dropped, and those of the safe set where
    `data`, the setting train.refit.data, adds them."""
    if data == "kept":
        return noisy
    lengths, labels = (np.concatenate(both) for both in ((noisy.lengths, safe.lengths), (noisy.labels, safe.labels)))
    return Rows(lengths, labels, noisy.size + safe.size, len(safe) if data == "kept_then_trusted" else 0)
