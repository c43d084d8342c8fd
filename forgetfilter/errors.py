"""The exceptions that become exit codes: 2 for the user's mistake, 75 for a stop with everything saved."""

import os
import re
from collections.abc import Sequence

EXIT_USER = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: run the same command again to go on
EXIT_LOST = 76  # of a rank alone: another one went away, which is no fault of its own
EXIT_WAITED = 77  # of a rank alone: another one was silent for longer than launch.timeout


_USER_PART = re.compile(r"(?<=://)[^/?#\s]*@")  # of a URL: a name and a password, or a token
_NAME_OF_A_SECRET = re.compile(r".*(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)", re.IGNORECASE)
_SHORTEST = 8  # characters of a value that is taken for a secret in a text, where a shorter one may be any word


class UserError(Exception):
    """A mistake of the user's: one line that names the key, file or row and says what to do."""


class Stopped(Exception):  # noqa: N818 - no error: the work is saved
    """A signal asked the stage to stop; its state is saved, and the same command goes on from there."""


def check_choice(key: str, value: str, known: Sequence[str]) -> None:
    """Raises UserError with the nearest known name where the value of a setting or a field is none of them."""
    if value not in known:
        raise UserError(f"{key} cannot be {value!r}{nearest(value, known)}")


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the closest of the known names, else the list of them."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def printable(text: str) -> str:
    """Text as it can stand in any line: control, escape and direction characters as U+FFFD, so that none is obeyed."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def without_user(text: str, instead: str = "") -> str:
    """Text whose URLs have `instead` in the place of a user and a password: `https://me:secret@host` has them."""
    return _USER_PART.sub(instead, text)


def masked(text: str) -> str:
    """Text as it may be shown and logged: `https://***@host` in the place of a user and a password, and *** in the
    place of a secret of the environment."""
    for value in sorted({os.environ[name] for name in secret_names()}, key=len, reverse=True):
        if len(value) >= _SHORTEST and not value.startswith("/"):  # a path to a key is none
            text = text.replace(value, "***")
    return without_user(text, "***@")


def secret_names() -> list[str]:
    """The variables of the environment that hold a secret: by their names, or because they hold a URL with a user."""
    return [name for name, value in os.environ.items() if _NAME_OF_A_SECRET.fullmatch(name) or _USER_PART.search(value)]


def reason(error: BaseException) -> str:
    """The first line of what an error says (and the next where that one ends in a colon), or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


def plain_label(text: str, limit: int = 40) -> str:
    """A name as it can stand in any line: control and direction characters shown as U+FFFD, and shortened."""
    clean = printable(text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
