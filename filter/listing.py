"""`python -m forgetfilter.filter.listing`: the tables of docs/signals.md, from the files of signals and rules.

They include the signals and rules of installed packages.
"""

from operator import attrgetter

from forgetfilter.config.schema import Config

from . import rules, signals

NEEDED = {"has_probes": "probes", "has_control": "a control set", "learns_all": "several answers"}


def signal_table() -> str:
    """One row for each signal in the order of the names: what it is, its unit, and what it needs besides the two
    scorings."""
    rows = [f"| {one.name} | {one.doc} | {one.unit} | {', '.join(_needs(one))} |" for one in signals.every()]
    return "\n".join(["| signal | what | unit | needs |", "| --- | --- | --- | --- |", *rows])


def rule_table() -> str:
    """One row for each rule in the order of the names: what it drops, and the settings that it reads."""
    rows = [
        f"| {rule.name} | {rule.doc} | {', '.join(f'`filter.{key}`' for key in rule.settings)} |"
        for rule in rules.every()
    ]
    return "\n".join(["| rule | drops | settings |", "| --- | --- | --- |", *rows])


def _needs(signal: signals.Signal) -> list[str]:
    settings = dict.fromkeys(stored.setting for stored in signal.stored)
    found = [NEEDED.get(key) or f"`{key}={'NAME' if attrgetter(key)(Config()) == '' else 'true'}`" for key in settings]
    return found + ["clusters"] * ("cluster" in signal.needs)


if __name__ == "__main__":
    print(f"{signal_table()}\n\n{rule_table()}")
