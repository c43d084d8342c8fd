from pathlib import Path

import numpy as np
import pytest
from forgetfilter.filter.texts.forecast import FOLDS, Forecast
from forgetfilter.filter.texts.words import counts
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
    # of rows that no model saw: the noise is not, the words' part is
    records, number = made_up(600)
    forecast = Forecast.fit(iter(records), number)
    assert spearmanr(forecast.of(records), number).statistic > 0.4
    new, other = made_up(300, seed=1)
    assert spearmanr(forecast.of(new), other).statistic > 0.4


def test_no_row_is_foretold_by_its_own_number() -> None:
    # numbers changed within a fold move the forecasts of the other folds' rows, not of its own
    records, number = made_up(300)
    fold = Forecast.fit(iter(records), number).folds(counts(records))
    changed = number.copy()
    changed[fold == 3] = number[fold == 3][::-1]  # of the same mean
    before, after = (Forecast.fit(iter(records), given).of(records) for given in (number, changed))
    assert np.array_equal(before[fold == 3], after[fold == 3]) and not np.array_equal(before, after)


def test_rows_that_are_nearly_alike_are_in_one_fold() -> None:
    # else the copy of a row would tell its number; the folds are of about equal size all the same
    records, number = made_up(400)
    copies = [record(f"{text.answer} {more}") for text in records for more in ("", "word1", "word2 word3")]
    forecast = Forecast.fit(iter(copies), np.repeat(number, 3))
    fold = forecast.folds(counts(copies)).reshape(-1, 3)
    assert (fold == fold[:, :1]).mean() > 0.98
    assert np.bincount(fold[:, 0], minlength=FOLDS).min() > 20


def test_the_same_in_pieces_and_from_the_file(tmp_path: Path) -> None:
    # ranks read the stored model, and blocks of any size
    records, number = made_up(200)
    forecast = Forecast.fit(iter(records), number)
    forecast.save(tmp_path / "model.npz")
    again = Forecast.load(tmp_path / "model.npz")
    pieces = [again.of(records[start : start + 33]) for start in range(0, 200, 33)]
    assert np.array_equal(np.concatenate(pieces), forecast.of(records))


@pytest.mark.parametrize("text", ["", "...", "!?"])
def test_texts_without_words(text: str) -> None:
    # nothing is foretold of them but the mean
    records, number = [record(text)] * 150, np.linspace(0, 1, 150)
    assert Forecast.fit(iter(records), number).of(records) == pytest.approx(0.5)
