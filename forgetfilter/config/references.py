"""Settings whose values come from elsewhere, such as `${oc.env:NAME}`, are written as references.

Nobody can tell a secret from another text, so no text that comes from the environment is written into a run folder's
settings, a report or W&B. Numbers are written as they are. The run folder keeps a hash of each such text, so that
a later run notices another value. The user part of a URL (`https://USER:PASSWORD@HOST`) changes no result and is not
part of the hash.
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
    """The texts that a configuration takes from elsewhere. Raises UserError for a section from the environment.

    `written` is the configuration, or a part of it, with its references, `resolved` is the same part with their values,
    and `top` is the whole configuration with its references. The run's name is left out, since its folder shows it.
    """
    top = written if top is None else top
    if isinstance(resolved, dict | list) and isinstance(written, str):
        # ${train.noisy} stands for the section train.noisy
        written = value_at(top, tuple(written.strip("${}").split(".")))
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
    """Plain values, with those at the given places replaced by others."""
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
    """A hash by which a later run recognises the value; it ignores the user part of a URL."""
    return sha256_value(without_user(value) if isinstance(value, str) else value)


def check_passwords(written: Any, place: Place = ()) -> None:
    """Raises UserError for a URL with a literal user or password, which every file with the settings would show."""
    if isinstance(written, dict | list):
        for key, part in written.items() if isinstance(written, dict) else enumerate(written):
            check_passwords(part, (*place, key))
    elif isinstance(written, str) and re.match(r"\w[\w+.-]*://([^/@:\s]+|[^/@\s]*:[^/@\s]+)@", _literal(written)):
        raise UserError(
            f"{dotted(place)} names a user in its address: put the address into a variable of the environment, "
            f"and write {dotted(place)}='${{oc.env:VARIABLE}}'"
        )


def _literal(written: str) -> str:
    """A text without its references."""
    return re.sub(r"\$\{[^}]*\}", "", written)
