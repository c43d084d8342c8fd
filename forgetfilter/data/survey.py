"""What a source looks like before anybody has configured it: shapes, roles, turns, writing, duplicates, lengths.

A row that the mix stage would refuse is counted here with its reason rather than ending the survey, so that all that
is wrong with a file is known at once.
"""

import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.records import Message, content_id
from forgetfilter.data.shapes import columns_for, shape_fields, to_messages
from forgetfilter.data.sources import Row, read_originals, renamed
from forgetfilter.data.told import Told
from forgetfilter.errors import UserError

MOST_ROWS = 20_000  # that are looked at
LETTERS = 2_000  # of an example, whose writing is looked at


@dataclass
class Survey:
    """What was found in the first rows of a source."""

    source: SourceConfig
    """The source, with the columns that its rows need."""
    rows: int = 0
    whole: bool = True
    """Whether these are all of its rows."""
    refused: int = 0
    """Rows that the mix stage would refuse."""
    first_refusal: str = ""
    shapes: Counter[str] = field(default_factory=Counter)
    """{fields that make the shape: rows}."""
    roles: Counter[str] = field(default_factory=Counter)
    """{role: messages}."""
    answers: Counter[int] = field(default_factory=Counter)
    """{turns of the assistant: rows}."""
    scripts: Counter[str] = field(default_factory=Counter)
    """{writing, such as latin or cjk: letters}."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each row, without its template's own."""
    distinct: dict[str, list[Message]] = field(default_factory=dict)
    """{content id: messages}."""
    told: Told = field(default_factory=Told)
    labels: int = 0
    """Rows with a label."""

    @property
    def readable(self) -> int:
        return self.rows - self.refused

    def longer_than(self, tokens: int) -> int:
        """The rows that `data.max_length` would cut."""
        return sum(length > tokens for length in self.lengths)

    def length_at(self, share: float) -> int:
        """The number of tokens that this share of the rows does not exceed; 0 without rows."""
        return sorted(self.lengths)[round(share * (len(self.lengths) - 1))] if self.lengths else 0

    def drawn(self, number: int, seed: int) -> list[list[Message]]:
        """So many distinct examples at random, always the same for a seed; fewer where there are fewer."""
        return random.Random(seed).sample(list(self.distinct.values()), min(number, len(self.distinct)))


def survey(source: SourceConfig, key: str, count_tokens: Callable[[str], int]) -> Survey:
    """Looks at the first MOST_ROWS rows. UserError where the source itself cannot be read, or none of its rows can."""
    found = Survey(source)
    rows = read_originals(replace(source, limit=MOST_ROWS + 1), key, found.told)
    rows = _with_columns(rows, found)
    for where, row in islice(rows, MOST_ROWS):
        _look(where, row, key, found, count_tokens)
    found.whole = next(rows, None) is None
    if not found.readable:
        raise UserError(found.first_refusal)
    return found


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: four letters of ASCII each, and one for any other character."""
    plain = len(text.encode("ascii", "ignore"))
    return -(-plain // 4) + len(text) - plain


def _with_columns(rows: Iterator[tuple[str, Row]], found: Survey) -> Iterator[tuple[str, Row]]:
    """The rows; the source of the survey gets the columns by which its first row is of a known shape."""
    for where, row in islice(rows, 1):
        if not shape_fields(row) and not found.source.columns:
            found.source = replace(found.source, columns=columns_for(row))
        return chain([(where, row)], rows)
    return rows


def _look(where: str, row: Row, key: str, found: Survey, count_tokens: Callable[[str], int]) -> None:
    found.rows += 1
    try:
        ((_, named),) = renamed([(where, row)], found.source, key)
        messages = to_messages(named, where, found.told)
    except UserError as error:
        found.refused += 1
        found.first_refusal = found.first_refusal or str(error)
        return
    found.shapes[" and ".join(shape_fields(named))] += 1
    found.roles.update(message["role"] for message in messages)
    found.answers[sum(message["role"] == "assistant" for message in messages)] += 1
    text = "\n".join(message["content"] for message in messages)
    found.scripts.update(_scripts(text[:LETTERS]))
    found.lengths.append(count_tokens(text))
    found.labels += named.get("label") is not None
    found.distinct.setdefault(content_id(messages), messages)


def _scripts(text: str) -> Counter[str]:
    """{writing: letters}: the first word of each letter's name in Unicode."""
    letters: Counter[Any] = Counter(filter(str.isalpha, text))
    found = Counter[str]()
    for letter, count in letters.items():
        found[unicodedata.name(letter, "other").split()[0].lower()] += count
    return found
