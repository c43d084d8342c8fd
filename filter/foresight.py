"""What of a decision is known before anything is trained: a rule that can drop nothing, sources that are not there."""

from forgetfilter.files import read_json

from . import rules
from .task import FilterTask


def foresee(task: FilterTask) -> list[str]:
    """A line for people where the rule will drop nothing whatever the scores are; none otherwise.

    To be called once the mix is done. UserError where the rule cannot work with these data.
    """
    rule = rules.get(task.options.rule)
    given = {key: getattr(task.options, key) for key in rule.settings}
    counted = read_json(task.paths.folder / "data" / "summary.json")["noisy"]
    probes = 0
    if task.paths.probes.exists():
        with open(task.paths.probes, "rb") as lines:
            probes = sum(1 for _ in lines)
    data = rules.Known(counted["rows"] - probes, probes, tuple(counted["by_source"]))
    if why := rule.hopeless(data, **given):
        return [f"filter.rule={rule.name} will drop nothing: {why}; the refit would learn every noisy row"]
    return []
