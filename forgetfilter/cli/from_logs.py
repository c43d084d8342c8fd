"""forgetfilter filter --from BEFORE AFTER: the decision on losses that another trainer has logged, as a run folder."""

import argparse

import polars as pl
from omegaconf import OmegaConf

from forgetfilter.cli.init import looked, plain_name
from forgetfilter.config.load import made_config
from forgetfilter.data.records import read_records
from forgetfilter.data.survey import estimated_tokens
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_file, sha256_value
from forgetfilter.storage.run_folder import Run, folder_of, no_idle_folder
from forgetfilter.storage.run_lock import held
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import STATES, begin, shard_path, write_manifest, write_shard

WAY = "make the ids of the log with forgetfilter.api.ids from the very rows of --data and --probes"


def add(command: argparse.ArgumentParser) -> None:
    """The options of the command filter."""
    words = (
        "decide on two loss logs of a trainer of your own: with the noisy data learned, and with the safe data after"
    )
    command.add_argument("--from", dest="logs", nargs=2, metavar=("BEFORE", "AFTER"), help=words)
    command.add_argument("--data", action="append", default=[], metavar="FILE", help="with --from: the noisy data")
    command.add_argument("--safe", action="append", default=[], metavar="FILE", help="with --from: the safe data")
    words = "with --from: good rows that were learned with the noisy data"
    command.add_argument("--probes", action="append", default=[], metavar="FILE", help=words)


def check(options: argparse.Namespace) -> None:
    """UserError for options that would be ignored."""
    if options.logs and any((options.sweep, options.why, options.review, options.reveal, options.json)):
        raise UserError("--from decides, and answers no question: ask with filter RUN afterwards")
    given = [name for name in ("data", "safe", "probes") if getattr(options, name)]
    if given and not options.logs:
        raise UserError(f"--{given[0]} goes with --from BEFORE AFTER: a run folder has its own")


def decide(options: argparse.Namespace) -> Run:
    """Makes output/name with the data, the losses and the decision. Further decisions and the report need no log."""
    from forgetfilter import pipeline
    from forgetfilter.api import forgetting

    for what in ("data", "safe"):
        if not getattr(options, what):
            raise UserError(f"--from needs --{what} FILE: the {'noisy' if what == 'data' else what} data of the logs")
    losses = forgetting(*options.logs)
    sets = {"noisy": options.data, "safe": options.safe, "probes": options.probes}
    data = {key: _sources(paths) for key, paths in sets.items()}
    values = {"name": plain_name(options.data[0]), "data": data | {"probe_share": 0}, "tracking": {"mode": "disabled"}}
    config = made_config(OmegaConf.create(values), options.overrides, "--from and overrides")
    stages = {stage.name: stage for stage in pipeline.STAGES}
    with no_idle_folder(folder_of(config)), held(folder_of(config)):
        run = Run.create(config, options.resume)
        pipeline.run_stage(run, stages["mix"])
        identity = sha256_value([sha256_file(run.noisy_data), losses.hash_rows().to_list()])
        with run.stage("score", identity):
            _write(RunPaths(run.folder), losses, identity)
            pipeline.note_sums(run.folder, stages["score"])
        pipeline.run_stage(run, stages["filter"])
    return run


def _sources(paths: list[str]) -> dict[str, dict[str, object]]:
    """The setting that names these files, with the columns that their rows need."""
    found = {name: one.source for name, one in looked(paths, estimated_tokens, {}).items()}
    return {name: {"path": source.path, "columns": source.columns} for name, source in found.items()}


def _write(paths: RunPaths, losses: pl.DataFrame, identity: str) -> None:
    """signals/before and signals/after, of the noisy data exactly. UserError where the logs lack a row, or have one
    that is in none of the sets."""
    wanted = pl.DataFrame({"id": [record.id for record in read_records(paths.noisy_data)]}, schema={"id": pl.String})
    lacking = wanted.join(losses, on="id", how="anti")["id"]
    if len(lacking):
        raise UserError(f"the logs have no row for {len(lacking)} of {len(wanted)} ids of the data: {WAY}")
    safe = [record.id for record in read_records(paths.safe_data)]
    foreign = losses.join(wanted, on="id", how="anti").filter(~pl.col("id").is_in(safe))
    if len(foreign):
        raise UserError(f"the logs have rows for {len(foreign)} ids that the data does not have: {WAY}")
    chosen = wanted.join(losses, on="id", maintain_order="left")
    about = {"data": sha256_file(paths.noisy_data), "rows": len(wanted), "world_size": 1, "given": identity}
    for state in STATES:
        folder = paths.signals(state)
        begin(folder, sha256_value([state, identity]))
        shard = chosen.select("id", "source", pl.col("num_tokens").cast(pl.Int32), loss_sum=f"{state}_loss_sum")
        write_shard(shard_path(folder, 0, 0), shard.to_arrow(compat_level=pl.CompatLevel.oldest()))
        write_manifest(folder, about)
