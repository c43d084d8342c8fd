"""The filter stage: the decision on stored scores. It needs no model and no GPU."""

from forgetfilter.data.records import read_records
from forgetfilter.files import read_json
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Answering, Stage

from .task import FilterTask

FILES = tuple(f"filter/{name}" for name in ("summary.json", "decisions.parquet", "kept.jsonl", "dropped.jsonl"))


class Filtering(FilterTask, Answering):
    """The decision as the pipeline takes it, with the questions that people ask about it."""

    def inputs(self) -> object:
        from .decide import input_hash

        self.paths.require("mix", "score")
        return input_hash(self)

    def work(self) -> None:
        from .decide import decide
        from .tracked import log_decision

        summary = decide(self)
        with self.track() as tracker:
            log_decision(self.paths, summary, tracker)

    def foresee(self) -> list[str]:
        """A line where the rule will drop nothing whatever the scores are, or unless these prove that rows are unsafe.
        UserError where it cannot work with the data."""
        from . import rules

        rule = rules.get(self.options.rule)
        given = {key: getattr(self.options, key) for key in rule.settings}
        counted = read_json(self.paths.folder / "data" / "summary.json")["noisy"]
        probes = sum(1 for _ in read_records(self.paths.probes)) if self.paths.probes.exists() else 0
        data = rules.Known(counted["rows"] - probes, probes, tuple(counted["by_source"]))
        if why := rule.hopeless(data, **given):
            return [f"filter.rule={rule.name} will drop nothing: {why}; the refit would learn every noisy row"]
        if why := rule.doubtful(data, **given):
            return [f"filter.rule={rule.name} will drop nothing unless the scores prove that rows are unsafe: {why}"]
        return []

    def answer(self, swept: bool, asked: str | None, reviewed: int | None, reveal: bool, as_json: bool) -> None:
        from .inspecting import questions

        questions.answer(self, swept, asked, reviewed, reveal, as_json)


def settings(run: Run) -> FilterTask:
    config = run.config
    track = run.tracker_of("filter")
    return Filtering(RunPaths(run.folder), run.filtering, config.filter.rule == "auto", config.launch.nodes, track)


# A decision replaces an earlier one only after every check, so nothing is removed before the stage starts.
EDITABLE, READS = ("filter/kept.jsonl",), ("mix", "score")
FILTER = Stage("filter", settings, files=FILES, folder="filter", made=FILES, editable=EDITABLE, reads=READS)
