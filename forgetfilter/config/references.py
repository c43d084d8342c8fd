"""Settings that are taken from elsewhere, such as `${oc.env:NAME}`: what is written of them is the reference.

Nobody can tell a secret from another text, so no text that comes from the environment is written into a run folder's
settings, a report or W&B. Numbers are written as they are. Where a text decides about results, a hash of it is kept in
the run folder, so that another value is noticed. The user part of a URL (`https://USER:PASSWORD@HOST`) decides about
nothing, and may change.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from forgetfilter.errors import UserError, without_user
from forgetfilter.files import sha256_value

Place = tuple[str | int, ...]
"""The keys that lead to a setting, from the top of the configuration."""


class Reference(NamedTuple):
    """A setting that is not written as its value."""

    text: str
    """As the user wrote it."""
    value: str
    """What it stands for in this process."""


def find_references(
    written: Any, resolved: Any, top: Any = None, place: Place = ()
) -> Iterator[tuple[Place, Reference]]:
    """The texts that a configuration takes from elsewhere. UserError for a whole section from the environment.

    `written` is the configuration, or a part of it, before anything is replaced by its value, `resolved` after that,
    and `top` is the whole of the former. The run's name is left out: its folder shows it.
    """
    top = written if top is None else top
    if isinstance(resolved, dict | list) and isinstance(written, str):
        written = value_at(top, tuple(written.strip("${}").split(".")))  # ${train.noisy} is what train.noisy is
        if written is None:
            raise UserError(f"{dotted(place)}: a whole section cannot be taken from elsewhere; write its settings")
    if isinstance(resolved, dict):
        for key in resolved:
            yield from find_references(written[key], resolved[key], top, (*place, key))
    elif isinstance(resolved, list):
        for number, part in enumerate(resolved):
            yield from find_references(written[number], part, top, (*place, number))
    elif isinstance(resolved, str) and "${" in str(written) and place != ("name",):
        yield place, Reference(written, resolved)


def put(values: Any, others: Mapping[Place, Any], place: Place = ()) -> Any:
    """Plain values with others in their places."""
    if place in others:
        return others[place]
    if isinstance(values, dict):
        return {key: put(value, others, (*place, key)) for key, value in values.items()}
    if isinstance(values, list):
        return [put(value, others, (*place, number)) for number, value in enumerate(values)]
    return values


def value_at(values: Any, place: Place) -> Any:
    """The value in a place; None where there is no such place."""
    for key in place:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def dotted(place: Place) -> str:
    """A place as a user writes it."""
    return ".".join(map(str, place))


def fingerprint(value: Any) -> str:
    """By which a later run knows that a value is the same, whoever is the user that its URL names."""
    return sha256_value(without_user(value) if isinstance(value, str) else value)


def check_passwords(written: Any, place: Place = ()) -> None:
    """UserError for a URL that is written with its password: every file that tells the settings would have it."""
    if isinstance(written, dict | list):
        for key, part in written.items() if isinstance(written, dict) else enumerate(written):
            check_passwords(part, (*place, key))
    elif isinstance(written, str) and re.match(r"\w[\w+.-]*://([^/@:\s]+|[^/@\s]*:[^/@\s]+)@", _literal(written)):
        raise UserError(
            f"{dotted(place)} names a user in its address: put the address into a variable of the environment, "
            f"and write {dotted(place)}='${{oc.env:VARIABLE}}'"
        )


def _literal(written: str) -> str:
    """A text without what it takes from elsewhere."""
    return re.sub(r"\$\{[^}]*\}", "", written)
