"""forgetfilter chat RUN: one prompt, and what the released, the noisy and the refitted model answer, side by side."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetfilter.data.records import Message, clean
from forgetfilter.errors import UserError
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.progress import PlainConsole, console, width_of
from forgetfilter.storage.run_folder import Run

if TYPE_CHECKING:
    from forgetfilter.models.loading import States

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

NAMES = {"base": "M0, as released", "noisy": "M1, after the noisy data", "refit": "M*, after the kept rows"}
WARNING = "M1 was finetuned on everything, unsafe rows too: what it says may be harmful or wrong."


def add(commands: "Commands") -> None:
    """The command's place in the command line."""
    words = "ask the released, the noisy and the refitted model of a run, and see their answers side by side"
    command = commands.add_parser("chat", help=words, description=words)
    command.set_defaults(work=_chat)
    command.add_argument("target", metavar="RUN", help="a run folder whose noisy training is done")
    command.add_argument("--prompt", metavar="TEXT", help="answer this and end; without it each line of stdin is asked")


def _chat(options: argparse.Namespace) -> None:
    """Answers as the evaluation does: greedily, with its system prompt and cue and at most eval.max_new_tokens tokens.
    Each prompt stands alone. UserError before a model is loaded where there is nothing to ask."""
    from forgetfilter.data.rendering import prompt_text
    from forgetfilter.models.loading import States
    from forgetfilter.process.distributed import world

    run = Run.open(Path(options.target))
    run.require("train-noisy")
    if options.prompt is not None and not options.prompt.strip():
        raise UserError("--prompt is empty: give a text")
    names, asked = _models(run), run.config.eval
    model = ModelSettings.of(run.config)
    tokenizer, states = model.tokenizer(), States(model.base(), model.on(world().device))
    shown = PlainConsole(highlight=False, markup=False, emoji=False, width=width_of(sys.stdout))
    shown.print(WARNING, style="yellow")
    for prompt in [options.prompt] if options.prompt is not None else _lines():
        text = prompt_text(tokenizer, _turns(clean(prompt), asked.system_prompt, asked.cue))
        shown.print(_side_by_side({name: _answer(run, states, name, tokenizer, text) for name in names}))


def _models(run: Run) -> list[str]:
    """Those that are there; a refit of an earlier decision is shown and named as such."""
    from forgetfilter import pipeline

    if run.state().get("train-refit", {}).get("status") != "done":
        console.print("there is no M* yet: forgetfilter run makes it")
        return ["base", "noisy"]
    if "refit" in pipeline.stale(run):
        console.print(f"M* is of an earlier decision: forgetfilter train {run.folder} refit", style="yellow")
    return ["base", "noisy", "refit"]


def _lines() -> Iterator[str]:
    """What is typed, up to an empty line or the end."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not line:
            return
        yield line


def _turns(prompt: str, system: str, cue: str) -> list[Message]:
    asked: list[Message] = [{"role": "user", "content": f"{prompt}\n\n{cue}" if cue else prompt}]
    return [{"role": "system", "content": system}, *asked] if system else asked


def _answer(run: Run, states: "States", name: str, tokenizer: Any, text: str) -> str:
    from forgetfilter.models.generation import generate_batch

    with states.use(None if name == "base" else run.model(name)) as model:
        ((answer, _),) = generate_batch(model, tokenizer, [text], run.config.eval.max_new_tokens)
    return answer


def _side_by_side(answers: dict[str, str]) -> Any:
    from rich.table import Table

    table = Table(*(NAMES[name] for name in answers), expand=True)
    for column in table.columns:
        column.ratio, column.overflow = 1, "fold"
    table.add_row(*(answer.strip() or "(nothing)" for answer in answers.values()))
    return table
