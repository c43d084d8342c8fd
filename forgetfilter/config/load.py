"""Loads a configuration: defaults, a YAML file and `key=value` overrides, merged and checked.

Unknown keys are refused with the nearest name, and every check runs before a model is touched.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from forgetfilter.config.checks import check
from forgetfilter.config.filter_checks import check_given
from forgetfilter.config.references import check_passwords, find_references, put, value_at
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError, nearest, plain_label, reason

LAYERS = "train.lora.target_modules"
RENAMED = {"train.packing": "data.packing", "score.batch_tokens": "data.batch_tokens"}
"""{old name: new name} of settings. Users are told the new name; older run folders are read by it."""
PLAIN = re.compile(r'(?<!\\)"(?!(?:true|false|null|yes|no|on|off|y|n)")([a-z_]\w*)"', re.IGNORECASE | re.ASCII)
"""A word of JSON that YAML reads as the same text without its quotation marks."""
BEFORE = {"train.refit.data": "kept", "filter.confidence": 0.975}
"""{setting: what a run folder was made with that is older than the setting}. The default is another one now."""


def written(key: str, value: Any) -> str:
    """`key=value` as the command line takes it, quoted for a shell. Lists and names in it are ASCII, so that any
    terminal shows them and nothing is lost in copying."""
    if isinstance(value, (list, dict)) or value is None:
        quoted = PLAIN.sub(r"\1", json.dumps(value, ensure_ascii=False))
        # YAML would refuse the two halves in which JSON escapes an emoji
        value = "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in quoted)
    return shlex.quote(f"{key}={value}")


def load_config(path: Path | str, overrides: list[str] | tuple[str, ...] = (), own: bool = False) -> Config:
    """The checked configuration of a YAML file and `key=value` overrides; the later wins.

    `own` says that the file is a run folder's own config.yaml, which may have settings by their old names, and may lack
    those that came later.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{file} is missing: name a config file, such as configs/quickstart.yaml")
    for override in overrides:
        if "=" not in override:
            raise UserError(f"{override!r} is not an override: write key=value, such as train.noisy.lr=1e-4")
    try:
        loaded = OmegaConf.load(file)
    except OmegaConfBaseException as error:
        raise _told(error, str(file)) from error
    except Exception as error:  # PyYAML's own error types
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise UserError(f"{file} must hold keys and values at its top")
    return made_config(loaded, overrides, f"{file} and overrides", own)


def made_config(loaded: DictConfig, overrides: Sequence[str], where: str, own: bool = False) -> Config:
    """The same of settings that were read already; an error ends with `where` they were given."""
    try:
        given = _given(overrides)
        if own:
            _rename(loaded)
            _add_later(loaded)
        for part in (loaded, given):
            _check_renamed(part)
            _listed(part)
            _check_sections(OmegaConf.to_container(part, resolve=False), Config)
        merged = OmegaConf.merge(_defaults(), loaded, given)
        config = OmegaConf.to_object(merged)
        written, resolved = (OmegaConf.to_container(merged, resolve=resolve) for resolve in (False, True))
    except OmegaConfBaseException as error:
        raise _told(error, where) from error
    except UserError:
        raise
    except Exception as error:  # Python's own, of values that nothing above knows
        raise UserError(f"{where}: not valid: {' '.join(str(error).split())}") from error
    assert isinstance(config, Config)
    if not own:
        check_passwords(written)
    config = replace(config, references=dict(find_references(written, resolved)))
    check(config)
    check_given(config, given.get("filter") or ())
    return config


@cache
def _defaults() -> DictConfig:
    """The settings as nobody has changed them. Making them takes longer than all else here, and a merge copies them."""
    made: DictConfig = OmegaConf.structured(Config)
    return made


def _given(overrides: Sequence[str]) -> DictConfig:
    """The values of overrides. UserError for one that is no YAML, such as a number of thousands of digits."""
    given = OmegaConf.create({})
    for override in overrides:
        try:
            given.merge_with_dotlist([override])
        except OmegaConfBaseException:
            raise
        except Exception as error:  # PyYAML's own error types, and Python's of numbers
            raise UserError(f"{plain_label(override)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    return given


def _check_sections(given: Any, kind: Any, key: str = "") -> None:
    """Raises UserError for a value in the place of a section, whose key OmegaConf would not name."""
    if not isinstance(given, Mapping):
        shown = plain_label(str(given))
        raise UserError(f"{key} is a section, got {shown!r}: write its settings below it, as {{NAME: VALUE}}")
    hints = get_type_hints(kind)
    for name, value in given.items():
        place, hint = f"{key}.{name}" if key else str(name), hints.get(str(name))
        section = next((one for one in (hint, *get_args(hint)) if is_dataclass(one)), None)
        if value is None or not section:
            continue
        if get_origin(hint) is not dict:
            _check_sections(value, section, place)
        elif isinstance(value, Mapping):
            for own, part in value.items():
                _check_sections(part, section, f"{place}.{own}")


def with_settings(config: Config, settings: Mapping[str, Any], why: str) -> Config:
    """A checked configuration with some settings changed: {"train.noisy.lr": 1e-4}. `why` ends what an error says."""
    try:
        given = OmegaConf.create({})
        for key, value in settings.items():
            OmegaConf.update(given, key, value)
        _listed(given)
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), given))
    except OmegaConfBaseException as error:
        raise _told(error, why) from error
    assert isinstance(made, Config)
    check(made)
    return replace(made, references=config.references)


def _told(error: OmegaConfBaseException, where: str) -> UserError:
    """What OmegaConf refuses, in one line that names the key and `where` it was given."""
    if ":" in (key := str(getattr(error, "full_key", None) or "config")):
        way = f"write a blank after the colon, {{NAME: VALUE}}, or {key.replace(':', '=', 1)}"
        return UserError(f"{key} is no key: {way} ({where})")
    if isinstance(error, MissingMandatoryValue):
        return UserError(f"{key} is not set, and it has no default: set it ({where})")
    if found := re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", reason(error)):
        return UserError(f"{key} cannot be {found[1]!r}{nearest(found[1], _names(found[2]))}")
    if found := re.search(r"Environment variable '(\w+)' not found", str(error)):
        return UserError(f"{key}: the environment variable {found[1]} is not set; set it and run again")
    return UserError(f"{key}: {reason(error)} ({where})")


def _listed(config: DictConfig) -> None:
    """A single name of layers, such as all-linear, may stand without its list."""
    if isinstance(OmegaConf.select(config, LAYERS), str):
        OmegaConf.update(config, LAYERS, [OmegaConf.select(config, LAYERS)])


def _check_renamed(config: DictConfig) -> None:
    """Raises UserError for a setting that is given by its old name."""
    for old, new in RENAMED.items():
        if OmegaConf.select(config, old) is not None:
            raise UserError(f"{old} is called {new} now: write the new name")


def _rename(config: DictConfig) -> None:
    for old, new in RENAMED.items():
        if (value := OmegaConf.select(config, old)) is not None:
            section, _, name = old.partition(".")
            del config[section][name]
            OmegaConf.update(config, new, value)


def _add_later(config: DictConfig) -> None:
    for key, value in BEFORE.items():
        if OmegaConf.select(config, key) is None:
            OmegaConf.update(config, key, value)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, for work and for hashes. It may hold secrets, so it must not be
    written."""
    return {key: value for key, value in asdict(config).items() if key != "references"}


def to_written(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, with references in the place of values from the environment."""
    values = to_dict(config)
    # a study replaces values such as model.name, and then the reference no longer holds
    known = {place: one.text for place, one in config.references.items() if value_at(values, place) == one.value}
    written: dict[str, Any] = put(values, known)
    return written


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(to_written(config)))


def differing_keys(first: Any, second: Any, prefix: str = "") -> list[str]:
    """`key: old -> new` for each leaf in which two plain configurations differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = sorted({*first, *second})
        return [
            line
            for key in keys
            for line in differing_keys(first.get(key), second.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if first == second else [f"{prefix}: {first!r} -> {second!r}"]


def _names(listed: str) -> tuple[str, ...]:
    """The choices of a Literal, from OmegaConf's error."""
    return tuple(name.strip().strip("'") for name in listed.split(","))
