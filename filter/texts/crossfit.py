"""Ridge regressions in folds: forecasts of a row's rank from its features, by a model that has not seen the row.

The numbers that are forecast are the ranks, 0 to 1, to the power of TAIL, which gives most weight to what was forgotten
most. Rows of the safe set are known to be good, and the safe finetuning has just taught them, so they have the number
0, unless that makes the forecasts of the other rows worse, as with a safe set that is unlike all of them. Where they
are used, a second round fits to the ranks of the first forecasts, mixed with a share OWN of the rows' own ranks, and
learns less noise (self-training); without such an anchor it was seen to learn its own errors. Rows and probes are
treated alike, so that a probe's forecast is like that of any good row. This is why the safe set's rows have folds too:
probes often come from the safe set, and one that is nearly alike must not have taught the model that forecasts a probe.

The regressions minimise |XBw - y|^2 + PENALTY |w|^2 by LSQR (Paige and Saunders, 1982), where X has the features of the
rows and B those of the features, as words have pieces. XB is never multiplied out: it would have far more entries.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator, lsqr
from scipy.stats import rankdata

from ..signals.distilled import OWN, TAIL

FOLDS, PENALTY, STEPS = 10, 3.0, 15

Array = NDArray[np.float64]


def crossfit(
    features: csr_array, basis: csr_array, fold: NDArray[np.int64], ranks: Array, rounds: int = 2
) -> NDArray[np.float32]:
    """[FOLDS, m] weights w, row k by the rows outside of fold k.

    `features`: [n, k]; `basis`: [k, m]; `fold`: [n] 0 to FOLDS - 1; `ranks`: [r] 0 to 1, of the first r rows. The other
    rows are the safe set's.
    """
    count, everything = len(ranks), np.arange(len(fold))
    numbers = np.zeros(len(fold))
    numbers[:count] = ranks**TAIL
    seen, own_fold = features[:count], fold[:count]

    def forecasts(weights: NDArray[np.float32]) -> Array:
        return foretold(seen, own_fold, (basis @ weights.T).T)

    used = (everything[:count], everything)[: 1 if count == len(fold) else 2]
    trials = [_weights(features, basis, fold, numbers, rows) for rows in used]
    best = int(np.argmax([_proved(forecasts(weights), numbers[:count]) for weights in trials]))
    weights = trials[best]
    for _ in range(rounds - 1 if best else 0):
        numbers[:count] = percentiles(percentiles(forecasts(weights)) + OWN * ranks) ** TAIL
        weights = _weights(features, basis, fold, numbers, everything)
    return weights


def foretold(features: csr_array, fold: NDArray[np.int64], weights: NDArray[np.float32]) -> Array:
    """[n] the forecasts by the model of each row's fold."""
    row = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
    each = features.data * weights[fold[row], features.indices]
    found: Array = np.bincount(row, each, minlength=features.shape[0]).astype(np.float64)
    return found


def percentiles(values: Array) -> Array:
    """Mid-ranks from 0 to 1."""
    ranks: Array = (rankdata(values) - 0.5) / len(values)
    return ranks


def _weights(
    features: csr_array, basis: csr_array, fold: NDArray[np.int64], numbers: Array, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    found = np.zeros((FOLDS, basis.shape[1]), np.float32)
    exact = aslinearoperator(basis.astype(np.float64))  # as LSQR's vectors are: else it is converted at each step
    for number in range(FOLDS):
        seen = rows[fold[rows] != number]
        if len(seen):
            both = aslinearoperator(features[seen].astype(np.float64)) @ exact
            found[number] = lsqr(both, numbers[seen], damp=PENALTY**0.5, iter_lim=STEPS)[0]
    return found


def _proved(forecast: Array, numbers: Array) -> float:
    """The correlation of numbers and their forecasts; 0 where nothing varies."""
    if min(np.ptp(forecast), np.ptp(numbers)) == 0:
        return 0.0
    return float(np.corrcoef(forecast, numbers)[0, 1])
