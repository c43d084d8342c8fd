"""The tokens of a batch in scoring: given, or what a GPU's memory holds, and then fixed for the run by a note."""

from collections.abc import Callable
from pathlib import Path

from forgetfilter.config.schema import BATCH_TOKENS
from forgetfilter.errors import UserError
from forgetfilter.models.fitting import TOO_SMALL, note_tokens, noted_tokens
from forgetfilter.process.distributed import World, shared
from forgetfilter.process.progress import console


class FullError(Exception):
    """The memory does not hold a batch, and this process may take smaller ones."""


class BatchSize:
    """Made by every rank. `measure` gives the tokens that this rank's GPU holds; it is called at most once a run."""

    def __init__(self, setting: int | str, note: Path, longest: int, world: World, measure: Callable[[], int]):
        self.note, self.longest = note, longest
        # not where a number was asked for, nor while other ranks would wait for this one
        self.may_shrink = isinstance(setting, str) and world.size == 1
        unknown = isinstance(setting, str) and world.device.type == "cuda" and not shared(note.exists())
        self.tokens = note_tokens(note, measure()) if unknown else noted_tokens(setting, BATCH_TOKENS, note)

    def shrink(self) -> None:
        """Halves the batches. UserError where they are no larger than the longest example."""
        if self.tokens <= self.longest:
            raise UserError(TOO_SMALL.format(self.longest))
        self.tokens = note_tokens(self.note, max(self.longest, self.tokens // 2))
        console.print(f"the GPU's memory is full: scoring begins again with data.batch_tokens={self.tokens}")
