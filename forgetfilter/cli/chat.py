"""forgetfilter chat RUN: one prompt, and what the released, the noisy and the refitted model answer, side by side."""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from forgetfilter.cli.parser import Commands
from forgetfilter.data.records import clean
from forgetfilter.errors import UserError
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.progress import PlainConsole, console, width_of
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.run_paths import RunPaths

if TYPE_CHECKING:
    from forgetfilter.models.loading import States

NAMES = {"base": "M0, as released", "noisy": "M1, after the noisy data", "refit": "M*, after the filter"}
WARNING = "M1 was finetuned on everything, unsafe rows too: what it says may be harmful or wrong."


def add(commands: Commands) -> None:
    """The command's place in the command line."""
    words = "ask the released, the noisy and the refitted model of a run, and see their answers side by side"
    command = commands.add_parser("chat", help=words, description=words)
    command.set_defaults(work=_chat)
    command.add_argument("target", metavar="RUN", help="a run folder whose noisy training is done")
    command.add_argument("--prompt", metavar="TEXT", help="answer this and end; without it each line of stdin is asked")


def _chat(options: argparse.Namespace) -> None:
    """Answers as the evaluation does: greedily, with its system prompt and cue and at most eval.max_new_tokens tokens.
    Each prompt stands alone. UserError before a model is loaded where there is nothing to ask."""
    from forgetfilter import pipeline
    from forgetfilter.data.rendering import prompt_text, with_instructions
    from forgetfilter.models.loading import States
    from forgetfilter.process.distributed import world

    run = Run.open(Path(options.target))
    run.require("train-noisy")
    if options.prompt is not None and not options.prompt.strip():
        raise UserError("--prompt is empty: give a text")
    refitted, asked = run.state().get("train-refit", {}).get("status") == "done", run.config.eval
    pipeline.check_trained(run.folder, "chat", ["train-noisy", *(["train-refit"] if refitted else [])])
    trained = _models(run, "refit" in pipeline.stale(run) if refitted else None)
    model = ModelSettings.of(run.config)
    tokenizer, states = model.tokenizer(), States(model.base(), model.on(world().device))
    shown = PlainConsole(highlight=False, markup=False, emoji=False, width=width_of(sys.stdout))
    shown.print(WARNING, style="yellow")
    for prompts in _together(options.prompt):
        turns = [[{"role": "user", "content": clean(prompt)}] for prompt in prompts]
        texts = [prompt_text(tokenizer, with_instructions(one, asked.system_prompt, asked.cue)) for one in turns]
        answers = [_answers(states, folder, tokenizer, texts, asked.max_new_tokens) for folder in trained.values()]
        for told in zip(*answers):
            shown.print(_side_by_side(dict(zip(trained, told))))


def _models(paths: RunPaths, refit_is_stale: bool | None) -> dict[str, Path | None]:
    """The folder of each model that is there, None for M0; a refit of an earlier decision is shown and named as such.

    `refit_is_stale` is None where there is no refit.
    """
    there = {"base": None, "noisy": paths.model("noisy")}
    if refit_is_stale is None:
        console.print("there is no M* yet: forgetfilter run makes it")
        return there
    if refit_is_stale:
        way = f"forgetfilter train {shlex.quote(str(paths.folder))} refit"
        console.print(f"M* is of an earlier decision: {way}", style="yellow")
    return {**there, "refit": paths.model("refit")}


def _together(given: str | None) -> Iterator[list[str]]:
    """The prompts that are asked at once: each by itself as it is typed, and all of a file, for which every model is
    loaded once."""
    if given is not None:
        yield [given]
    elif sys.stdin.isatty():
        yield from ([line] for line in _lines("> "))
    else:
        yield [*_lines("")]


def _lines(sign: str) -> Iterator[str]:
    """What is typed, up to an empty line or the end."""
    while True:
        try:
            line = input(sign).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not line:
            return
        yield line


def _answers(
    states: "States", trained: Path | None, tokenizer: Any, texts: Sequence[str], max_new_tokens: int
) -> list[str]:
    from forgetfilter.models.generation import generate_batch

    with states.use(trained) as model:
        each = [generate_batch(model, tokenizer, [text], max_new_tokens) for text in texts]
    return [answer for ((answer, _),) in each]


def _side_by_side(answers: dict[str, str]) -> Table:
    table = Table(*(NAMES[name] for name in answers), expand=True)
    for column in table.columns:
        column.ratio, column.overflow = 1, "fold"
    table.add_row(*(answer.strip() or "(nothing)" for answer in answers.values()))
    return table
