"""The filter stage: the decision on stored scores. It needs no model and no GPU."""

from dataclasses import dataclass

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import FilterConfig
from forgetfilter.process.tracking import tracked
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage

FILES = tuple(f"filter/{name}" for name in ("summary.json", "decisions.parquet", "kept.jsonl", "dropped.jsonl"))


@dataclass(frozen=True)
class FilterTask:
    """All that a decision needs to know of its run."""

    paths: RunPaths
    options: FilterConfig
    """The section `filter`, with what its `auto` stands for in this run."""
    rule_is_auto: bool
    """Whether nobody named the rule."""
    nodes: int
    """Machines that read the texts, where a signal needs that."""


def settings(run: Run) -> FilterTask:
    config = run.config
    return FilterTask(RunPaths(run.folder), run.filtering, config.filter.rule == "auto", config.launch.nodes)


def inputs(run: Run) -> object:
    from .decide import input_hash

    run.require("mix", "score")
    return input_hash(settings(run))


def work(run: Run) -> None:
    from .decide import decide

    summary = decide(settings(run))
    with tracked(run.config.tracking, run.folder, "filter", to_dict(run.config)) as tracker:
        quality = summary["quality"] or {}
        numbers = {key: value for key, value in quality.items() if isinstance(value, (int, float))}
        tracker.log({"kept": summary["kept"], "dropped": summary["dropped"]} | numbers)


def answer(run: Run, swept: bool, asked: str | None, reviewed: int | None, reveal: bool) -> None:
    """What `forgetfilter filter RUN` answers beside deciding: --sweep, --why ID and --review N, the texts masked unless
    --reveal."""
    from .inspecting import people

    people.answer(settings(run), swept, asked, reviewed, reveal)


# It replaces an earlier decision only once every check is passed, so nothing is removed before it starts.
FILTER = Stage("filter", inputs, work, files=FILES, folder="filter")
