"""Whether what a stage reads was made with the settings and data of the configuration that it is given with."""

import shlex
from collections.abc import Sequence

from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.storage.results import read_state
from forgetfilter.storage.run_folder import Run, folder_of

# A decision may be made again with settings of its own, which the page, the card and the terminal then tell.
DECIDED = ("filter", "train-refit", "eval")


def check_earlier(config: Config, names: Sequence[str], given: Sequence[str]) -> None:
    """UserError where a stage that is not among `names`, but that one of them builds on, is recorded with other
    settings or data than `config` has, which comes from `given`, a file and settings. The outcome would be of those of
    before, and config.yaml would tell otherwise.
    """
    from forgetfilter import pipeline

    run = Run(folder_of(config), config)
    names = [*names, "mix"] if config.only_evaluates else names
    state, needed = read_state(run.folder), set(names)
    for stage in reversed(pipeline.STAGES):
        if stage.name in needed:
            needed |= {*stage.reads}
    for stage in pipeline.STAGES:
        if stage.name not in needed or stage.name in (*names, *DECIDED) or not stage.wanted(config):
            continue
        recorded = state.get(stage.name, {}).get("input_hash")
        if recorded and recorded != stage.task(run).input_hash():
            again, everything = (_command(name, given) for name in (stage.name, "run"))
            raise UserError(
                f"{stage.name} in {run.folder} was made with other settings or data than are given now: first do it "
                f"again with {again}, or do all that changed with {everything}; with {run.folder} in the place of "
                f"{given[0]} the run goes on as it is"
            )


def _command(name: str, given: Sequence[str]) -> str:
    """That which does a stage with the same settings: of train-noisy it is `forgetfilter train CONFIG noisy ...`."""
    command, *which = name.split("-")
    return f"`forgetfilter {shlex.join([command, given[0], *which, *given[1:]])} --resume`"
