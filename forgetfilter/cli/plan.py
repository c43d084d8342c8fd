"""`forgetfilter plan CONFIG`: the checks of a run, and its memory, time and disk, before anything is loaded."""

import argparse
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from forgetfilter.cli.parser import Commands
from forgetfilter.config.schema import Config
from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import config_of

if TYPE_CHECKING:
    from forgetfilter.models.plan.estimate import Estimate, Given
    from forgetfilter.models.plan.rows import Rows


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    plan = commands.add_parser("plan", help="memory, time and disk of each stage on 1 to 1,024 GPUs; needs none")
    plan.set_defaults(work=_work)
    plan.add_argument("--json", action="store_true", help="the numbers in the place of tables")
    plan.add_argument("--gpu-memory", type=_positive, default=80.0, metavar="GB", help="of a GPU, 10^9 bytes (80)")
    words = "of it that tensors do not get: driver, libraries, fragments (2)"
    plan.add_argument("--reserved", type=float, default=2.0, metavar="GB", help=words)
    plan.add_argument("--link", type=_positive, default=50.0, metavar="GB/S", help="that a GPU sends to others (50)")
    plan.add_argument("--rows", type=count, metavar="N", help="of the noisy set, in the place of reading the data")
    plan.add_argument("--safe-rows", type=count, default=1000, metavar="N", help="of the safe set, with --rows (1,000)")
    plan.add_argument("--tokens-per-row", type=count, metavar="N", help="with --rows")
    rate = plan.add_mutually_exclusive_group()
    rate.add_argument("--tokens-per-second", type=_positive, metavar="N", help="of one GPU in training")
    rate.add_argument("--flops", type=_positive, metavar="N", help="operations a second of one GPU, such as 800e12")
    rate.add_argument("--measure", action="store_true", help="time some micro-batches on this machine")
    plan.add_argument("--utilisation", type=_positive, default=0.4, metavar="SHARE", help="of --flops (0.4)")


def _positive(word: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(word)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"must be a positive number, got {word!r}")


def count(word: str) -> int:
    """A whole number of 1 and more."""
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, got {word!r}")
    return int(word)


def _work(options: argparse.Namespace) -> None:
    from forgetfilter.models.plan import table
    from forgetfilter.models.plan.estimate import Given, check_fits, zero_of
    from forgetfilter.process.progress import console, results

    config = config_of(Path(options.target), options.overrides)
    words = ("rows", "safe_rows", "tokens_per_row", "tokens_per_second", "flops", "utilisation", "measure")
    given = Given(
        options.gpu_memory, options.reserved, options.link, **{word: getattr(options, word) for word in words}
    )
    found = estimate(config, given)
    if options.json:
        print(json.dumps(table.as_json(config.name, found), indent=1))
    else:
        results().print(table.tables(config.name, found))
    ranks = config.launch.processes * config.launch.nodes
    check_fits(found.planner, ranks, zero_of(config.train.deepspeed)[0])
    if not options.json and not Path(options.target).is_dir():
        console.print(f"next: forgetfilter run {options.target}", soft_wrap=True)


def estimate(config: Config, given: "Given") -> "Estimate":
    """UserError for what cannot work, as far as it can be known without weights and without training."""
    from forgetfilter.models.disk_space import disk_needs, disk_work
    from forgetfilter.models.plan.estimate import Estimate, model_folder, planned, with_rate
    from forgetfilter.models.plan.planning import Machine
    from forgetfilter.pipeline import check_settings

    if config.only_evaluates:
        raise UserError("plan: this configuration trains nothing, so there is nothing to plan")
    check_settings(config)
    folder = model_folder(config)
    unchecked = _checked_model(config, folder)
    sets = _sets(config, given, folder)
    planner = planned(config, folder, sets, Machine(given.gpu_gb, given.reserved_gb, given.link_gb, None))
    needed, parts = disk_needs(disk_work(config, folder, _counts(sets), sets["noisy"].size))
    planner, rate = with_rate(planner, config, folder, given)
    return Estimate(planner, unchecked, f"Disk: {needed / 1e9:,.3g} GB ({parts}).", rate)


def _checked_model(config: Config, folder: Path) -> tuple[str, ...]:
    from forgetfilter.models.plan.estimate import training_of
    from forgetfilter.models.pretrained import load_config as load_model_config
    from forgetfilter.pipeline import check_whole_model

    if any(folder.glob("*.safetensors")):
        check_whole_model(config, folder, training_of(config, folder).attention)
        return ()
    load_model_config(folder, "model.name")
    return (f"model.name: {folder} has no weights, so what needs them was not checked",)


def _counts(sets: "dict[str, Rows]") -> dict[str, int]:
    return {name: len(rows) for name, rows in sets.items()}


def _sets(config: Config, given: "Given", folder: Path) -> "dict[str, Rows]":
    """The rows of each training."""
    from forgetfilter.models.limits import limits_of
    from forgetfilter.models.plan.rows import given_rows, refit_rows

    longest = min(config.data.max_length, limits_of(folder).context)
    if given.rows is None:
        found = _read(config, folder, longest)
    elif given.tokens_per_row is None:
        raise UserError("--rows needs --tokens-per-row, since no row is read then")
    else:
        found = given_rows(given.rows, given.safe_rows, min(given.tokens_per_row, longest))
    found |= {"refit": refit_rows(found["noisy"], found["safe"], config.train.refit.data)}
    return {name: found[name] for name in config.trainings}


def _read(config: Config, folder: Path, longest: int) -> "dict[str, Rows]":
    """The data of the run where its mix is done with these settings, else of a mix in a temporary folder."""
    from forgetfilter.mix.stage import mixed
    from forgetfilter.models.loading import load_tokenizer
    from forgetfilter.models.plan.rows import counted_rows

    tokenizer = load_tokenizer(folder, config.model.chat_template)
    with tempfile.TemporaryDirectory(prefix="forgetfilter-plan-") as scratch:
        return counted_rows(mixed(config, Path(scratch)), tokenizer, longest)
