import numpy as np
from forgetfilter.filter.texts.crossfit import FOLDS, crossfit, foretold, percentiles
from scipy.sparse import csr_array, eye_array
from scipy.stats import spearmanr


def made_up(rows: int, seed: int = 0) -> tuple[csr_array, np.ndarray, np.ndarray, np.ndarray]:
    """Features, folds and ranks of rows, the ranks raised by the first feature and by noise; and the first feature."""
    random = np.random.default_rng(seed)
    given = random.normal(0, 1, (rows, 20))
    ranks = percentiles(given[:, 0] + random.normal(0, 2, rows))
    return csr_array(given), random.integers(FOLDS, size=rows), ranks, given[:, 0]


def fitted(features: csr_array, fold: np.ndarray, ranks: np.ndarray, rounds: int = 2) -> np.ndarray:
    """By the features themselves."""
    return crossfit(features, eye_array(features.shape[1], format="csr"), fold, ranks, rounds)


def test_features_of_features() -> None:
    # The weights are those of the features multiplied out.
    features, fold, ranks, _ = made_up(200)
    basis = csr_array(np.random.default_rng(1).normal(0, 1, (20, 7)))
    apart, out = crossfit(features, basis, fold, ranks), fitted(csr_array(features @ basis), fold, ranks)
    assert np.abs(out).max() > 0.01 and np.allclose(apart, out, atol=1e-4)


def test_no_row_is_foretold_by_its_own_number() -> None:
    # In the first round, ranks that change within a fold move the forecasts of the other folds' rows and not those of
    # their own.
    features, fold, ranks, _ = made_up(300)
    changed = ranks.copy()
    changed[fold == 3] = ranks[fold == 3][::-1]
    before, after = (foretold(features, fold, fitted(features, fold, given, rounds=1)) for given in (ranks, changed))
    assert np.array_equal(before[fold == 3], after[fold == 3]) and not np.array_equal(before, after)


def test_a_second_round_takes_noise_out() -> None:
    # In each of ten draws of rows with noisy ranks and partly a vocabulary of their own kind, the second round, which
    # learns from forecasts for the most part, separates the kinds better.
    for seed in range(10):
        random = np.random.default_rng(seed)
        kind, given = np.append(random.random(200) < 0.3, np.zeros(50, dtype=bool)), np.zeros((250, 400))
        for row, own in zip(given, kind):
            row[random.choice(np.arange(100) if own else np.arange(50, 350), 6, replace=False)] = 6**-0.5
        ranks = percentiles(kind[:200] + random.normal(0, 1, 200))
        fold = random.integers(FOLDS, size=250)
        once, twice = (
            foretold(csr_array(given), fold, fitted(csr_array(given), fold, ranks, rounds))[:200] for rounds in (1, 2)
        )
        assert spearmanr(twice, kind[:200]).statistic > spearmanr(once, kind[:200]).statistic


def test_a_safe_set_unlike_the_data_is_left_out() -> None:
    # A safe set whose rows lie where the forgotten ones do would mislead, so the weights are those without it.
    features, fold, ranks, cause = made_up(300)
    safe = csr_array(np.repeat(features[[int(cause.argmax())]].toarray(), 200, axis=0))
    both = csr_array(np.vstack([features.toarray(), safe.toarray()]))
    folds = np.append(fold, np.arange(200) % FOLDS)
    assert np.array_equal(fitted(both, folds, ranks), fitted(features, fold, ranks))
