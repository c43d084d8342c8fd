from pathlib import Path

import numpy as np
import pytest
from forgetfilter.filter.texts import forecast as module
from forgetfilter.filter.texts.crossfit import FOLDS, percentiles
from forgetfilter.filter.texts.forecast import Forecast
from forgetfilter.filter.texts.words import Vocabulary, counts
from scipy.stats import spearmanr

from forgetfilter.data.records import Record

WORDS = [f"word{number}" for number in range(40)]


def made_up(rows: int, seed: int = 0) -> tuple[list[Record], np.ndarray]:
    """Records of 12 of 40 words and a rare one; a number that three of the words raise, with noise."""
    random = np.random.default_rng(seed)
    chosen = random.integers(len(WORDS), size=(rows, 12))
    texts = [" ".join([f"rare{n}", *(WORDS[word] for word in row)]) for n, row in enumerate(chosen)]
    number = (chosen < 3).sum(1) + random.normal(0, 1, rows)
    return [record(text) for text in texts], number


def record(text: str) -> Record:
    return Record(text, [{"role": "assistant", "content": text}], "s")


def test_what_the_words_say_is_foretold() -> None:
    # For rows that no model has seen, the forecasts follow the part of the number that the words explain.
    records, number = made_up(600)
    forecast = Forecast.fit(iter(records), percentiles(number))
    assert spearmanr(forecast.of(records), number).statistic > 0.4
    new, other = made_up(300, seed=1)
    assert spearmanr(forecast.of(new), other).statistic > 0.4


def test_rows_that_are_nearly_alike_are_in_one_fold() -> None:
    # A copy in another fold would tell a row's number, so near copies share a fold, and the folds are still of about
    # equal size.
    records, number = made_up(400)
    copies = [record(f"{text.answer} {more}") for text in records for more in ("", "word1", "word2 word3")]
    forecast = Forecast.fit(iter(copies), percentiles(np.repeat(number, 3)))
    fold = forecast.folds(counts(copies, Vocabulary()).hashed).reshape(-1, 3)
    assert (fold == fold[:, :1]).mean() > 0.98
    assert np.bincount(fold[:, 0], minlength=FOLDS).min() > 20


def test_the_safe_set_shows_what_is_good() -> None:
    # With a safe set, words that are frequent in it are told from the harmful ones, of which the noisy numbers alone
    # know too little.
    records, number = made_up(300)
    tame = [record(f"safe{n} word{n % 37 + 3} word{n % 31 + 7} word{n % 29 + 5}") for n in range(600)]
    bad = np.array([sum(f"word{w} " in f"{r.answer} " for w in range(3)) for r in records])
    noisy = percentiles(number + np.random.default_rng(2).normal(0, 2, 300))
    alone, told = (Forecast.fit(iter(records), noisy, iter(safe)).of(records) for safe in ([], tame))
    assert spearmanr(told, bad).statistic > spearmanr(alone, bad).statistic + 0.1


def test_probes_that_resemble_rows_of_the_safe_set_are_as_other_good_rows() -> None:
    # The forecasts of such probes are no lower than those of other good rows, because their near copies, which have the
    # number 0, did not teach the models of their folds.
    random = np.random.default_rng(3)
    texts = []
    for row in range(500):  # 100 probes, 300 other good rows and 100 bad ones
        words = [*(f"rare{row}x{n}" for n in range(8)), *(f"word{n}" for n in random.integers(40, size=6))]
        texts.append(" ".join(words + [f"bad{random.integers(3)}"] * (row >= 400)))
    near = [record(f"{text} more") for text in texts[:100]]
    ranks = percentiles(1.5 * (np.arange(500) >= 400) + random.normal(0, 1, 500))
    noisy = [record(text) for text in texts]
    foretold = Forecast.fit(iter(noisy), ranks, iter(near)).of(noisy)
    assert foretold[:100].mean() > foretold[100:400].mean() - 0.01
    assert foretold[400:].mean() > foretold[:400].mean() + 0.2


def test_a_misspelt_word_is_known_by_its_pieces() -> None:
    # A word that no row had before has a forecast near that of the word it resembles.
    random = np.random.default_rng(0)
    bad = random.random(300) < 0.4
    said = [f"{'hateful' if own else 'garden'} {' '.join(random.choice(WORDS, 5))}" for own in bad]
    forecast = Forecast.fit(map(record, said), percentiles(bad + random.normal(0, 0.5, 300)))
    for known, like, other in (("hateful", "hatefull", "gardens"), ("hateful", "xhateful", "gardenx")):
        told = forecast.of([record(f"{word} word1 word2") for word in (known, like, other)])
        assert told[1] - told[2] > 0.5 * (told[0] - told[2]) > 0


def test_pieces_of_the_first_words_alone_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pieces are fitted only for the first MOST_WORDS words, so that memory is bounded; words and pairs are fitted
    # still.
    records, number = made_up(300)
    whole = Forecast.fit(iter(records), percentiles(number))
    monkeypatch.setattr(module, "MOST_WORDS", 10)
    few = Forecast.fit(iter(records), percentiles(number))
    assert np.count_nonzero(few.weights) < 0.7 * np.count_nonzero(whole.weights)
    assert spearmanr(few.of(records), number).statistic > 0.3


def test_the_same_in_pieces_and_from_the_file(tmp_path: Path) -> None:
    # A stored model gives the same forecasts, in blocks of any size.
    records, number = made_up(200)
    forecast = Forecast.fit(iter(records), percentiles(number))
    forecast.save(tmp_path / "model.npz")
    again = Forecast.load(tmp_path / "model.npz")
    pieces = [again.of(records[start : start + 33]) for start in range(0, 200, 33)]
    assert np.array_equal(np.concatenate(pieces), forecast.of(records))


@pytest.mark.parametrize("text", ["", "...", "!?"])
def test_texts_without_words(text: str) -> None:
    # Texts without words all have the same finite forecast.
    records, number = [record(text)] * 150, np.linspace(0, 1, 150)
    foretold = Forecast.fit(iter(records), number).of(records)
    assert np.ptp(foretold) == 0 and np.isfinite(foretold).all()
