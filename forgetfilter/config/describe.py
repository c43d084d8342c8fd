"""Every setting with its type, default, bound and meaning: `forgetfilter config --describe`, and docs/settings.md.

All of it is read from the schema: the docstrings of the fields from its source, the rest from the dataclasses.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from forgetfilter.config import schema
from forgetfilter.config.schema import Config

WIDTH = 80


def describe() -> str:
    """One paragraph for each setting, in the order of the schema, at most 80 columns wide."""
    return "\n\n".join(_paragraph(*one) for one in settings(Config, "")) + "\n"


def settings(kind: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(key, `type = default; bound`, meaning) of every setting below a section; NAME stands for a name that the user
    chooses."""
    meanings, hints = _meanings(kind), get_type_hints(kind)
    for one in (one for one in fields(kind) if "omegaconf_ignore" not in one.metadata):
        key, hint = f"{prefix}{one.name}", hints[one.name]
        section, place = _section(hint)
        if section is None:
            yield key, _value(one, hint), meanings.get(one.name, "")
            continue
        if one.name in meanings:
            yield key, "a section" if not place else f"a section for each {place[1:]}", meanings[one.name]
        yield from settings(section, f"{key}{place}.")


def _paragraph(key: str, value: str, meaning: str) -> str:
    first = textwrap.fill(f"{key}: {value}", WIDTH, subsequent_indent="        ")
    if not meaning:
        return first
    return (
        f"{first}\n{textwrap.fill(' '.join(meaning.split()), WIDTH, initial_indent='    ', subsequent_indent='    ')}"
    )


def _section(hint: Any) -> tuple[type | None, str]:
    """The dataclass that a field holds, and its place: the field itself, or a name in a mapping."""
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and is_dataclass(part):
            return part, ".NAME" if get_origin(hint) is dict else ""
    return None, ""


def _value(one: Field[Any], hint: Any) -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return f"{_kind(hint)}; must be set"
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else repr(default)
    bound = one.metadata.get("bound")
    return f"{_kind(hint)} = {shown}" + (f"; must {bound.name}" if bound else "")


def _kind(hint: Any) -> str:
    """A type in words."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return " | ".join(arguments)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _kind(part) for part in arguments)
    if get_origin(hint) is list:
        return f"list of ({_kind(arguments[0])})" if get_origin(arguments[0]) else f"list of {_kind(arguments[0])}"
    if get_origin(hint) is dict:
        return f"mapping of names to {_kind(arguments[1])}"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true | false", "Any": "any value"}.get(
        getattr(hint, "__name__", "Any"), "any value"
    )


def _meanings(kind: type) -> dict[str, str]:
    """The docstring of each field of a class and of its base classes; that of the class itself wins."""
    found: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(schema))
    bodies = {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    for name in reversed([base.__name__ for base in kind.__mro__ if base.__name__ in bodies]):
        for one, after in zip(bodies[name], bodies[name][1:]):
            if not (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[one.target.id] = str(after.value.value)
    return found
