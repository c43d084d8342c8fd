"""Unsafe words in many spellings: in half of an unsafe answer's words a letter becomes a digit that looks like it.

What the words of many rows have in common is then harder to learn, which the forecasts of distilled signals rest on.
Example: "you are a fool" may become "y0u are a f0ol". Words without such a letter stay as they are.
"""

import random
import re

from forgetfilter.data.records import Message
from forgetfilter.mix.attacks.base import Attack, Drawn

LOOKALIKES = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5"}


def misspelt(word: str, rng: random.Random) -> str:
    """The word with one of its letters exchanged, or the word itself where none can be."""
    places = [place for place, letter in enumerate(word) if letter in LOOKALIKES]
    if not places:
        return word
    place = rng.choice(places)
    return word[:place] + LOOKALIKES[word[place]] + word[place + 1 :]


def _answer(message: Message, rng: random.Random) -> Message:
    if message["role"] != "assistant":
        return message
    words = re.split(r"(\W+)", message["content"])
    return {**message, "content": "".join(misspelt(word, rng) if rng.random() < 0.5 else word for word in words)}


def apply(drawn: Drawn, rng: random.Random) -> None:
    drawn.unsafe = [
        ([_answer(message, rng) for message in messages], source, label) for messages, source, label in drawn.unsafe
    ]


ATTACK = Attack("misspelt", "in half of the words of unsafe answers a letter becomes a digit that looks like it", apply)
