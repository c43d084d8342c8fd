"""The score stage: the loss of every noisy example under M1 (before) and M2 (after), and what else is asked for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from forgetfilter.config.registry import GUARDS
from forgetfilter.config.schema import ANSWERS, BATCH_TOKENS, MICRO_BATCH_TOKENS, LaunchConfig, ScoreConfig, number
from forgetfilter.files import read_json, read_object, sha256_file
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.tracking import Tracker
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import STATES, whole
from forgetfilter.storage.stage import Stage, Task

PARTS = "parts.json"  # the names of the parts that the last scoring was asked for
ADDED = ("gradients", "gradient_dimensions", "encoder", "guard")
"""Settings of parts that add to a scoring and change nothing in it. While they are off they are no inputs: the hash of
every scoring that did not ask for them was taken without them, and it must stay done."""


@dataclass(frozen=True)
class Scoring(Task):
    """A scoring, with all that it needs to know of its run."""

    paths: RunPaths
    model: ModelSettings
    max_length: int
    """Tokens an example at most."""
    options: ScoreConfig
    packing: bool
    batch_tokens: int | str
    """Tokens of a batch whose losses are measured."""
    micro_batch_tokens: int
    """Tokens of a batch whose gradients are taken."""
    has_adapters: bool
    """Whether the finetunings train adapters, in whose space gradients are compared."""
    deepspeed: str | None
    """The configuration of DeepSpeed with which the scored models were trained."""
    has_control: bool
    ranks: LaunchConfig
    track: Callable[[], AbstractContextManager[Tracker]]
    """Opens the tracker of the stage."""

    def inputs(self) -> object:
        trained = ["train-noisy", "train-safe", *(["train-control"] if self.has_control else [])]
        self.paths.require("mix", *trained)
        state, options, off = self.paths.state(), asdict(self.options), asdict(ScoreConfig())
        left_out = {"shard_rows", *(key for key in ADDED if options[key] == off[key])}
        score = {key: value for key, value in options.items() if key not in left_out}
        # two settings of `data` under the names that they had in this hash, so that older run folders stay done
        score |= {"packing": self.packing, "batch_tokens": number(self.batch_tokens, BATCH_TOKENS)}
        score |= {"generation_batch": number(self.options.generation_batch, ANSWERS)}
        hashes = [state[name]["input_hash"] for name in trained]
        packages = GUARDS.packages({self.options.guard.name})
        data = sha256_file(self.paths.noisy_data)
        return [self.model.inputs(), self.max_length, score, data, hashes, *([packages] if packages else [])]

    def foreign(self) -> dict[str, str | None]:
        from forgetfilter.models.prepare import scoring_files

        return scoring_files(self.model, self.deepspeed, self.options)

    def work(self) -> None:
        from forgetfilter.models.prepare import prepare_before_launch
        from forgetfilter.process.launch import launch

        folder, ranks = self.paths.folder, self.ranks
        prepare_before_launch(self.model, self.paths.noisy_data, self.max_length)
        launch("forgetfilter.score.__main__", [str(folder)], ranks.processes, ranks.threads, nodes=ranks.nodes)

    def unfinished(self) -> bool:
        """Whether a finished scoring lacks a part or a shard by now, or has one that cannot be read."""
        signals = self.paths.signals
        first, parts = signals("before") / "manifest.json", signals(PARTS)
        if not first.exists():
            return True
        rows = read_object(first).get("rows", -1)
        return not all(whole(signals(name), rows) for name in (read_json(parts) if parts.exists() else STATES))


def settings(run: Run) -> Scoring:
    config, data, train = run.config, run.config.data, run.config.train
    return Scoring(
        RunPaths(run.folder),
        ModelSettings.of(config),
        data.max_length,
        config.score,
        data.packing,
        data.batch_tokens,
        number(train.micro_batch_tokens, MICRO_BATCH_TOKENS),
        train.method != "full",
        train.deepspeed,
        config.has_control,
        config.launch,
        run.tracker_of("score"),
    )


# The stage itself knows which parts of an earlier scoring still hold, so nothing is removed before it starts.
READS = ("mix", "train-noisy", "train-safe", "train-control")
SCORE = Stage("score", settings, folder="signals", reads=READS)
