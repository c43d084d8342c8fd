"""Checks of the section `filter`: the names of signals and rules, and what these need of the rest of a configuration.

The file of a signal or a rule says what it needs (config/registry.py). Nothing here knows any of them by name.
"""

from collections.abc import Iterable
from operator import attrgetter

from forgetfilter.config.registry import RULES, SIGNALS, Rule
from forgetfilter.config.schema import AUTO, Config, FilterConfig
from forgetfilter.errors import UserError, check_choice


def check_filter(config: Config) -> None:
    """Raises UserError for an unknown signal or rule, or for one that cannot work with the rest of the
    configuration."""
    given = config.filter
    check_choice("filter.signal", given.signal, ("auto", *SIGNALS.names))
    check_choice("filter.rule", given.rule, ("auto", *RULES.names))
    for number, name in enumerate(given.combine):
        check_choice(f"filter.combine[{number}]", name, SIGNALS.names)
    _check_rule(config)
    if not config.only_evaluates:
        for signal in given.combine or [config.filtering.signal]:
            for setting in (stored.setting for stored in SIGNALS.get(signal, "filter.signal").stored):
                if not attrgetter(setting)(config):
                    raise UserError(f"filter.signal={signal} needs {_way(config, setting)}")


def check_given(config: Config, keys: Iterable[str]) -> None:
    """Raises UserError where the user gave a key of the section `filter` that the rule does not read."""
    rule = RULES.get(config.filtering.rule, "filter.rule")
    for key in keys:
        if (owner := _owner(key)) and owner.name != rule.name:
            raise UserError(_foreign(config, key, owner))
        taken = (new for new, old in rule.replaces.items() if old == key and getattr(config.filter, new) is not None)
        for new in taken:
            raise UserError(f"filter.{key}: filter.{new} takes its place here; set filter.{new}=null as well")


def probes_needed(config: Config) -> tuple[int, str]:
    """(fewest, asked): the number of probes that the rule needs, 0 for none; and the rule as the user asked for it."""
    rule = RULES.get(config.filtering.rule, "filter.rule")
    asked = f"auto, with probes {rule.name}," if config.filter.rule == "auto" else rule.name
    return rule.fewest_probes, f"filter.rule={asked}"


def _check_rule(config: Config) -> None:
    given, defaults = config.filter, FilterConfig()
    if given.rule == "auto":
        automatic = {rule for _, rule in AUTO.values()}
        for rule in (rule for name, rule in RULES.members.items() if name not in automatic):
            for key in rule.settings:
                if getattr(given, key) != getattr(defaults, key):
                    raise UserError(_foreign(config, key, rule))
    fewest, asked = probes_needed(config)
    if fewest and not config.only_evaluates:  # the mix stage counts the rows of data.probes
        given_few = bool(config.mixture and 0 < config.mixture.probes < fewest)
        enough = config.has_probes and not given_few
        if not enough:
            raise UserError(f"{asked} needs at least {fewest} probes: set {probes_key(config)}, and run again")
    if said := lacking(RULES.get(config.filtering.rule, "filter.rule"), given):
        raise UserError(f"filter.{said}")


def lacking(rule: Rule, settings: FilterConfig) -> str:
    """The first setting that the rule needs and that is empty, with what is to be put into it; empty for none."""
    return next((f"{key} is empty: {way}" for key, way in rule.needs.items() if not getattr(settings, key)), "")


def _owner(key: str) -> Rule | None:
    """The rule that reads a key of the section `filter`."""
    return next((rule for rule in RULES.members.values() if key in rule.settings), None)


def _foreign(config: Config, key: str, owner: Rule) -> str:
    rule, way = config.filtering.rule, f"set filter.rule={owner.name} as well"
    if owner.fewest_probes and not config.has_probes:
        way = f"it needs probes: set {probes_key(config)}, and run again"
    which = f"filter.rule is {rule}"
    if config.filter.rule == "auto":
        which = f"filter.rule=auto is {rule}, for there are {'probes' if config.has_probes else 'no probes'}"
    return f"filter.{key} is a setting of the rule {owner.name}, but {which}: {way}"


def cannot_without_probes(config: Config) -> str:
    """The rule or signal that the user named and that needs probes, as `filter.KEY=NAME`; empty where there is none."""
    given = config.filter
    if given.rule != "auto" and RULES.get(given.rule, "filter.rule").fewest_probes:
        return f"filter.rule={given.rule}"
    named = given.combine or ([given.signal] if given.signal != "auto" else [])
    needing = (n for n in named if any(s.setting == "has_probes" for s in SIGNALS.get(n, "filter.signal").stored))
    signal = next(needing, "")
    return f"filter.signal={signal}" if signal else ""


def probes_key(config: Config) -> str:
    return "mixture.probes" if config.mixture else "data.probes.NAME.path"


def _way(config: Config, setting: str) -> str:
    """The setting that the user must give so that an attribute of the configuration is there."""
    if setting == "has_probes":
        return f"probes: set {probes_key(config)}"
    if setting == "has_control":
        return f"a control set: set {'mixture.control' if config.mixture else 'data.control'}"
    if setting == "learns_all":
        return "the losses of all answers: set data.learn=all"
    return f"{setting}={'true' if attrgetter(setting)(config) is False else 'NAME'}"
