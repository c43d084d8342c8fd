"""The filter stage: the decision on stored scores. It needs no model and no GPU."""

from forgetfilter.config.load import to_dict
from forgetfilter.process.tracking import tracked
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.stage import Stage

FILES = tuple(f"filter/{name}" for name in ("summary.json", "decisions.parquet", "kept.jsonl", "dropped.jsonl"))


def inputs(run: Run) -> object:
    from .decide import input_hash

    run.require("mix", "score")
    return input_hash(run)


def work(run: Run) -> None:
    from .decide import decide

    summary = decide(run)
    with tracked(run.config.tracking, run.folder, "filter", to_dict(run.config)) as tracker:
        quality = summary["quality"] or {}
        numbers = {key: value for key, value in quality.items() if isinstance(value, (int, float))}
        tracker.log({"kept": summary["kept"], "dropped": summary["dropped"]} | numbers)


# It replaces an earlier decision only once every check is passed, so nothing is removed before it starts.
FILTER = Stage("filter", inputs, work, files=FILES)
