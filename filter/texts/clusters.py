"""Texts as points on a sphere, and clusters of points that lie together.

It is offline and cheap: words are hashed to 2^18 counts, weighted by TF-IDF, and reduced to 64 dimensions by a
truncated SVD (latent semantic analysis, Deerwester et al. 1990) that is fitted to a sample; k-means has about one
centre for ten rows.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from forgetfilter.files import atomic_path

BUCKETS, DIMENSIONS = 2**18, 64
ROWS_A_CLUSTER, MOST_CLUSTERS = 10, 2_000
PIECE = 256  # points whose distances to all centres stay in a core's cache


class Space:
    """A deterministic map of texts to points; texts can be given in pieces of any size."""

    def __init__(self, axes: NDArray[np.float64], centres: NDArray[np.float64]):
        self.axes = axes
        """[BUCKETS, dimensions], each word's by its inverse document frequency; 0 for words not in the sample."""
        self.centres = centres
        """[clusters, dimensions]."""

    @classmethod
    def fit(cls, sample: list[str], count: int) -> Self:
        """sample: texts to fit to; count: rows of the data, which gives the number of clusters."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.utils.extmath import randomized_svd

        counts = _counts(sample)
        known = np.unique(counts.indices)
        weights = TfidfTransformer(sublinear_tf=True).fit(counts)
        weighted = weights.transform(counts)[:, known]  # the other columns are empty, and would take all the time
        dimensions = max(1, min(DIMENSIONS, len(sample) - 1, len(known)))
        axes = np.zeros((BUCKETS, dimensions))
        if len(known):
            _, _, words = randomized_svd(weighted, dimensions, n_iter=5, transpose=True, random_state=0)
            axes[known] = words.T * weights.idf_[known, None]
        clusters = max(1, min(MOST_CLUSTERS, count // ROWS_A_CLUSTER, len(sample)))
        means = MiniBatchKMeans(clusters, batch_size=4096, n_init=3, random_state=0)
        return cls(axes, means.fit(_points(counts, axes)).cluster_centers_)

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """Unit vectors [n, dimensions]; zero for a text without a known word."""
        return _points(_counts(texts), self.axes)

    def cluster(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """The nearest centre of each point."""
        nearest = np.empty(len(points), np.int32)
        half = (self.centres**2).sum(1) / 2
        for start in range(0, len(points), PIECE):
            nearest[start : start + PIECE] = (points[start : start + PIECE] @ self.centres.T - half).argmax(1)
        return nearest

    def save(self, path: Path) -> None:
        known = np.flatnonzero(self.axes.any(axis=1))
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, known=known, axes=self.axes[known], centres=self.centres)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as found:
            axes = np.zeros((BUCKETS, found["axes"].shape[1]))
            axes[found["known"]] = found["axes"]
            return cls(axes, found["centres"])


def _counts(texts: list[str]) -> Any:
    """How often each bucket's words are in each text: a sparse matrix [n, BUCKETS]."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    if not texts:
        return csr_array((0, BUCKETS))
    return HashingVectorizer(n_features=BUCKETS, alternate_sign=False, norm=None).transform(texts)


def _points(counts: Any, axes: NDArray[np.float64]) -> NDArray[np.float64]:
    weighted = counts.copy()
    weighted.data = np.log(weighted.data) + 1  # TF-IDF's sublinear term frequency
    points: NDArray[np.float64] = weighted @ axes
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return points
