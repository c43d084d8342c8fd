"""Tokenises a file of records block by block; where there are many, in as many processes as there are cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgetfilter.data.records import Message, Record, RecordBlocks
from forgetfilter.data.rendering import holds_system, prompt_text, render
from forgetfilter.data.tokens import encode
from forgetfilter.data.turns import label_counts
from forgetfilter.errors import Stopped, UserError
from forgetfilter.process import interrupts
from forgetfilter.process.environment import without_secrets
from forgetfilter.process.progress import progress

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("turns", pa.list_(pa.int32())),  # start and end of each answer that is learned, one after the other
        ("unread", pa.bool_()),  # whether answers go on behind the cut
    ]
)
CHUNK = 1024  # records tokenised and written together
MANY = 64  # blocks from which further processes, each of which takes seconds to start, are worth it
Block = tuple[pa.RecordBatch, dict[str, int]]


@dataclass(frozen=True)
class Tokenising:
    """What a process must know to tokenise a block of a file."""

    data: Path
    blocks: RecordBlocks
    tokenizer: Any
    max_length: int

    def __call__(self, number: int) -> Block:
        """The rows of a block, and the counts that are summed over all. UserError for a row that the template refuses,
        by its line."""
        records, tokenizer = self.blocks[number], self.tokenizer
        try:
            chats, learn = [record.messages for record in records], [record.learn for record in records]
            encoded = encode(tokenizer, chats, self.max_length, learn)
        except UserError as error:
            raise _of_a_row(error, records, tokenizer, self.data, number * self.blocks.rows) from error
        columns = [
            [record.id for record in records],
            [record.source for record in records],
            [one.ids for one in encoded],
            [[place for turn in one.turns for place in turn] for one in encoded],
            [one.cut == "within" for one in encoded],
        ]
        counts = {
            "rows": len(records),
            "cut": sum(bool(one.cut) for one in encoded),
            "unread": sum(one.cut == "within" for one in encoded),
            "tokens": sum(len(one.ids) for one in encoded),
            "label_tokens": sum(sum(label_counts(one.turns)) for one in encoded),
            "answers_left": sum(record.leaves_answers for record in records),
            "system_left_out": sum(_leaves_out_system(tokenizer, record.prompt) for record in records),
        }
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA)]
        return pa.record_batch(arrays, schema=SCHEMA), counts


def tokenised(data: Path, tokenizer: Any, max_length: int, processes: int | None = None) -> Iterator[Block]:
    """The blocks of a file of records in their order, the same for any number of processes (None: the cores)."""
    work = Tokenising(data, RecordBlocks.of(data, CHUNK), tokenizer, max_length)
    count, cores = len(work.blocks), processes or len(os.sched_getaffinity(0))
    if count < MANY or cores == 1:
        yield from map(work, range(count))
        return
    # not forked: a copy of a process with threads may wait forever for a lock that one of them held
    spawned = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(min(cores, count), spawned, _begin, (work,)) as pool,
        progress(f"tokenise {data.name}", count) as meter,
    ):
        try:
            with without_secrets():  # the processes are started here
                blocks = pool.map(_one, range(count))
            for block in blocks:
                if interrupts.noted():
                    raise Stopped(f"tokenising {data} was stopped by a signal; the same command begins it again")
                yield block
                meter.advance()
        except BrokenProcessPool as error:
            raise UserError(f"{data}: a process that tokenises was killed; perhaps memory is short") from error


_work: list[Tokenising] = []  # of a process that was started for it


def _begin(work: Tokenising) -> None:
    """Readies a process; the one that started it is told of signals, and ends the others."""
    for number in interrupts.STOPPING:
        signal.signal(number, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work.append(work)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _one(number: int) -> Block:
    return _work[0](number)


def _leaves_out_system(tokenizer: Any, prompt: list[Message]) -> bool:
    asked = any(message["role"] == "system" for message in prompt)
    return asked and not holds_system(prompt_text(tokenizer, prompt), prompt)


def _of_a_row(error: UserError, chunk: list[Record], tokenizer: Any, data: Path, before: int) -> UserError:
    """The template's error with the row that it refuses."""
    for number, record in enumerate(chunk, before + 1):
        try:
            render(tokenizer, record.messages, record.learn)
        except UserError as own:
            return UserError(f"{data} line {number} (source {record.source}): {own}")
    return error
