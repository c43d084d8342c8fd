"""ROUGE-1 of greedy answers against their references: the paper's signal (rouge-score, stemmed, F-measure).

Lin 2004: with o the unigrams that both have (each counted as often as the rarer side has it), precision = o /
answer unigrams, recall = o / reference unigrams, F = 2 P R / (P + R). rouge-score lowercases, keeps [a-z0-9] only
and applies the Porter stemmer, so text without Latin letters or digits scores 0.

Example: "the cats sat" against "cat sat down": stems the, cat, sat and cat, sat, down; P = R = 2/3, F = 2/3.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgetfilter.errors import UserError
from forgetfilter.models.generation import read_generations
from forgetfilter.storage.shards import shard_path, write_manifest, write_shard

SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("rouge1", pa.float64())])


def rouge1(reference: str, answer: str) -> float:
    """The F-measure, 0 to 1; 0 for an empty answer."""
    return rouge(reference, answer, "rouge1")


def rouge(reference: str, answer: str, kind: str) -> float:
    """The F-measure of rouge1, or of rougeL (the longest common subsequence in the place of the common unigrams)."""
    return float(_scorer(kind).score(reference, answer)[kind].fmeasure)


def score_rouge(
    generations: Path, references: Iterable[tuple[str, str, str]], out: Path, manifest: dict[str, Any]
) -> None:
    """Writes `id, source, rouge1` of every reference (id, source, text) to one shard below `out`, then the manifest.

    UserError where the generations lack an id or hold a foreign one. To be called by one process.
    """
    wanted = list(references)
    frame = read_generations(generations, [id_ for id_, _, _ in wanted])
    answers = dict(zip(frame["id"], frame["text"]))
    if len(answers) != len(wanted):
        raise UserError(f"{generations}: the data names an id more than once; run the mix stage again")
    rows = [(id_, source, rouge1(reference, answers[id_])) for id_, source, reference in wanted]
    columns = zip(*rows) if rows else ([], [], [])
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA)], schema=SCHEMA)
    (out / "manifest.json").unlink(missing_ok=True)
    write_shard(shard_path(out, 0, 0), table)
    write_manifest(out, {**manifest, "signal": "rouge1", "rows": len(rows)})


@functools.cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=True)
