"""What the texts alone say, computed once for a run: clusters of rows that look alike, distance to the safe set,
and profanity.

Offline and cheap: words and pairs of words hashed to 2^18 counts, TF-IDF, 64 dimensions by a truncated SVD (latent
semantic analysis, Deerwester et al. 1990) that is fitted on a sample, and k-means with about one centre for ten rows.
Rows pass in chunks; what stays in memory is the sample, the centres and the safe set.
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.records import Record, read_records
from forgetfilter.shards import read_manifest, shard_path, write_manifest, write_shard

BUCKETS, DIMENSIONS = 2**18, 64
SAMPLE, CHUNK = 20_000, 20_000  # rows
ROWS_A_CLUSTER, MOST_CLUSTERS = 10, 2_000
VERSION = 1  # of all of the above
SCHEMA = pa.schema(
    [("id", pa.string()), ("cluster", pa.int32()), ("safe_distance", pa.float64()), ("profanity", pa.float64())]
)


def prepare(noisy: Path, safe: Path, folder: Path) -> None:
    """Writes the shards `id, cluster, safe_distance, profanity` of the noisy data, unless they are there."""
    identity = sha256_value([VERSION, sha256_file(noisy), sha256_file(safe) if safe.exists() else None])
    if (folder / "manifest.json").exists() and read_manifest(folder)["identity"] == identity:
        return
    shutil.rmtree(folder, ignore_errors=True)
    space = Space([_text(record) for record in _sample(noisy)], count=sum(1 for _ in read_records(noisy)))
    safe_texts = [_text(record) for record in islice(read_records(safe), SAMPLE)] if safe.exists() else []
    trusted = space.embed(safe_texts) if safe_texts else None
    rows = 0
    for part, chunk in enumerate(_chunks(noisy)):
        places = space.embed([_text(record) for record in chunk])
        table = pa.table(
            {
                "id": [record.id for record in chunk],
                "cluster": space.cluster(places),
                "safe_distance": _distance(places, trusted),
                "profanity": _profanity([record.answer for record in chunk]),
            }
        )
        write_shard(shard_path(folder, 0, part), table.cast(SCHEMA))
        rows += len(chunk)
    write_manifest(folder, {"identity": identity, "rows": rows})


class Space:
    """Texts as points on the unit sphere of DIMENSIONS dimensions, and their clusters; deterministic."""

    def __init__(self, sample: list[str], count: int):
        """sample: texts to fit to; count: rows of the data, which gives the number of clusters."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        self.words = HashingVectorizer(n_features=BUCKETS, alternate_sign=False, norm=None)
        self.weights = TfidfTransformer(sublinear_tf=True).fit(self.words.transform(sample))
        weighted = self.weights.transform(self.words.transform(sample))
        self.axes = TruncatedSVD(max(1, min(DIMENSIONS, weighted.shape[0] - 1)), random_state=0).fit(weighted)
        clusters = max(1, min(MOST_CLUSTERS, count // ROWS_A_CLUSTER, len(sample)))
        self.centres = MiniBatchKMeans(clusters, batch_size=4096, n_init=3, random_state=0).fit(self.embed(sample))

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """Unit vectors [n, dimensions]; zero for a text without a word."""
        places: NDArray[np.float64] = self.axes.transform(self.weights.transform(self.words.transform(texts)))
        places /= np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
        return places

    def cluster(self, places: NDArray[np.float64]) -> NDArray[np.int32]:
        nearest: NDArray[np.int32] = self.centres.predict(places).astype(np.int32)
        return nearest


def _distance(places: NDArray[np.float64], trusted: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """1 less the largest cosine to a safe row, [n]; NaN without a safe set."""
    if trusted is None:
        return np.full(len(places), np.nan)
    step = max(1, 20_000_000 // len(trusted))  # 160 MB of cosines at a time
    largest = [(places[start : start + step] @ trusted.T).max(1) for start in range(0, len(places), step)]
    return 1 - np.concatenate(largest)


def _profanity(answers: list[str]) -> NDArray[np.float64]:
    from profanity_check import predict_prob

    chance: NDArray[np.float64] = np.asarray(predict_prob(answers), dtype=np.float64)
    return chance


def _sample(noisy: Path) -> list[Record]:
    """The SAMPLE rows with the smallest ids, which are hashes of their contents: by chance, and the same always."""
    import heapq

    return heapq.nsmallest(SAMPLE, read_records(noisy), key=lambda record: record.id)


def _chunks(noisy: Path) -> Iterator[list[Record]]:
    records = read_records(noisy)
    while chunk := list(islice(records, CHUNK)):
        yield chunk


def _text(record: Record) -> str:
    return " ".join(message["content"] for message in record.messages)
