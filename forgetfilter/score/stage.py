"""The score stage: every noisy example under M1 (before) and M2 (after), and what else the config asks for."""

from dataclasses import asdict, dataclass

from forgetfilter.config.load import to_dict
from forgetfilter.config.schema import ScoreConfig
from forgetfilter.files import read_json, sha256_file
from forgetfilter.models.chat_template import model_inputs
from forgetfilter.models.settings import ModelSettings
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import whole
from forgetfilter.storage.stage import Stage

STATES = {"before": "noisy", "after": "safe"}  # signals of which training stage's model
PARTS = "parts.json"  # the names of the parts that the last scoring was asked for
ADDED = ("gradients", "gradient_dimensions", "encoder", "guard")
"""Settings of parts that add to a scoring and change nothing in it: while they are off they are no inputs."""


@dataclass(frozen=True)
class Scoring:
    """All that a scoring needs to know of its run."""

    paths: RunPaths
    model: ModelSettings
    max_length: int
    """Tokens an example at most."""
    options: ScoreConfig
    packing: bool
    batch_tokens: int
    """Tokens of a batch whose losses are measured."""
    micro_batch_tokens: int
    """Tokens of a batch whose gradients are taken."""
    has_adapters: bool
    """Whether the finetunings train adapters, in whose space gradients are compared."""
    has_control: bool


def settings(run: Run) -> Scoring:
    config, data, train = run.config, run.config.data, run.config.train
    return Scoring(
        RunPaths(run.folder),
        ModelSettings.of(config),
        data.max_length,
        config.score,
        data.packing,
        data.batch_tokens,
        train.micro_batch_tokens,
        train.method != "full",
        config.has_control,
    )


def inputs(run: Run) -> object:
    trained = ["train-noisy", "train-safe", *(["train-control"] if run.config.has_control else [])]
    run.require("mix", *trained)
    plain, state, off = to_dict(run.config), run.state(), asdict(ScoreConfig())
    left_out = {"shard_rows", *(key for key in ADDED if plain["score"][key] == off[key])}
    score = {key: value for key, value in plain["score"].items() if key not in left_out}
    # two of the settings of data under the names that they had in this hash: run folders of before stay done
    score |= {"packing": plain["data"]["packing"], "batch_tokens": plain["data"]["batch_tokens"]}
    hashes = [state[name]["input_hash"] for name in trained]
    return [model_inputs(run.config.model), plain["data"]["max_length"], score, sha256_file(run.noisy_data), hashes]


def foreign(run: Run) -> dict[str, str | None]:
    from forgetfilter.models.prepare import scoring_files

    return scoring_files(ModelSettings.of(run.config), run.config.train.deepspeed, run.config.score)


def work(run: Run) -> None:
    from forgetfilter.models.prepare import prepare_before_launch
    from forgetfilter.process.launch import launch

    prepare_before_launch(ModelSettings.of(run.config), run.noisy_data, run.config.data.max_length)
    options = run.config.launch
    launch("forgetfilter.score.__main__", [str(run.folder)], options.processes, options.threads, nodes=options.nodes)


def unfinished(run: Run) -> bool:
    """Whether a finished scoring lacks a part or a shard by now, or has one that cannot be read."""
    first, parts = run.signals("before") / "manifest.json", run.signals(PARTS)
    if not first.exists():
        return True
    rows = read_json(first)["rows"]
    return not all(whole(run.signals(name), rows) for name in (read_json(parts) if parts.exists() else STATES))


# It knows itself what of an earlier scoring still holds, so nothing is removed before it starts.
SCORE = Stage("score", inputs, work, foreign, folder="signals", unfinished=unfinished)
