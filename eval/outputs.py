"""Writes and reads a model's outputs on a suite's prompts: generated answers, and likelihoods of given answers.

eval/MODEL/SUITE/generations/ holds the shards of models/generation.py. eval/MODEL/SUITE/likelihoods/ holds shards with
`id, source, prompt, choice, answer, num_tokens, loss_sum` (nats over the answer and its end). The manifest of each
folder has the identity of what made it; outputs with the same identity are not made again.
"""

from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from forgetfilter.data import tokens
from forgetfilter.data.records import Message, clean
from forgetfilter.data.rectangles import PADDED
from forgetfilter.data.rendering import holds_system, prompt_text, with_instructions
from forgetfilter.data.turns import Turn
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value
from forgetfilter.models.generation import Decoding, Prompt, generate, is_complete, read_generations
from forgetfilter.models.limits import check_prompts, limits_in
from forgetfilter.models.loss_pass import LossPass
from forgetfilter.models.sampling import Sampling, sample_ids
from forgetfilter.process.distributed import World, any_rank, barrier
from forgetfilter.process.progress import console
from forgetfilter.storage.shards import begin, scan_shards, write_manifest

from .answer_likelihoods import score_groups
from .prompts import PromptRow
from .suites import Outputs, Suite

CODE_VERSION = 3  # raise it when the likelihood of an unchanged answer changes
SHARD_ROWS = 4096  # answers in a shard of likelihoods
KEYS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("prompt", pa.string()),
        ("choice", pa.int32()),  # the answer's number among those to its prompt
        ("answer", pa.string()),
    ]
)


@dataclass(frozen=True)
class Asking:
    """How a model is asked prompts."""

    tokenizer: Any
    world: World
    model: dict[str, Any]
    """What identifies the model in the manifests: model, adapter, tokenizer, chat template, attention, dtype."""
    max_new_tokens: int
    generation_batch: int
    batch_tokens: int
    """The most tokens of one forward pass of the likelihoods."""
    max_length: int
    backend: str = "transformers"
    """What generates the answers: transformers or vllm. Likelihoods are always computed by transformers."""
    packing: bool = True
    """Whether the model keeps packed examples apart."""
    sampling: Sampling | None = None
    """The sampling of suites that take samples; None for one greedy answer."""
    system: str = ""
    """A system turn before every prompt; empty for none."""
    cue: str = ""
    """What follows the user's last words in every prompt, such as a call for self-correction."""
    cache: Path | None = None
    """The folder in which answers are kept for other runs."""


def is_pending(suite: Suite, rows: list[PromptRow], folder: Path, asking: Asking) -> bool:
    """Whether a part of the outputs is not there yet. To be called by every rank; all get the same answer."""
    missing = lacks_answers(suite, rows, folder, asking)
    if any(suite.answers(row) for row in rows):
        missing = missing or not is_complete(folder / "likelihoods", _likelihood_identity(suite, rows, asking))
    return any_rank(missing)


def lacks_answers(suite: Suite, rows: list[PromptRow], folder: Path, asking: Asking) -> bool:
    """Whether generated answers are not there yet."""
    if not suite.generates:
        return False
    return not is_complete(folder / "generations", _decoding(suite, asking).identity(_prompts(rows, asking)))


def ask(model: Any, suite: Suite, rows: list[PromptRow], folder: Path, asking: Asking, what: str) -> None:
    """Writes a model's outputs, except answers that another backend generates; to be called by every rank."""
    if suite.generates and asking.backend == "transformers":
        answer(model, suite, rows, folder, asking, what)
    if any(suite.answers(row) for row in rows):
        _drop_scores(folder, asking)
        if not suite.generates:
            _tell_left_out(rows, asking, what)
        _write_likelihoods(model, suite, rows, folder / "likelihoods", asking, f"{what}, likelihoods")
    barrier()


def answer(model: Any, suite: Suite, rows: list[PromptRow], folder: Path, asking: Asking, what: str) -> None:
    """Writes the generated answers of a model of torch or of vLLM; to be called by every rank."""
    _drop_scores(folder, asking)
    _tell_left_out(rows, asking, what)
    how = _decoding(suite, asking)
    generate(model, asking.tokenizer, _prompts(rows, asking), folder / "generations", how, what)


def _drop_scores(folder: Path, asking: Asking) -> None:
    """Removes the scores of earlier outputs before new outputs are written."""
    if asking.world.is_main:
        for name in ("metrics.json", "scores.parquet", "generations.parquet"):
            (folder / name).unlink(missing_ok=True)


def _decoding(suite: Suite, asking: Asking) -> Decoding:
    made_by = asking.model if asking.backend == "transformers" else {**asking.model, "backend": asking.backend}
    sampling = asking.sampling if suite.sampled else None
    return Decoding(asking.max_new_tokens, asking.generation_batch, sampling, made_by, asking.cache)


def read_outputs(suite: Suite, rows: list[PromptRow], folder: Path, samples: int = 1) -> tuple[Outputs, pl.DataFrame]:
    """The outputs that `ask` wrote, and the table of generations: `id, source, prompt, text, num_tokens`.

    The table is in the order of the rows. With several `samples` a prompt has as many rows in it. For a suite that only
    compares given answers, `text` is the likeliest of them and `num_tokens` its length. UserError where the files do
    not hold these prompts.
    """
    ids = [row["id"] for row in rows]
    losses: dict[str, list[float]] = {}
    sums: dict[str, list[float]] = {}
    chosen = pl.DataFrame()
    if any(suite.answers(row) for row in rows):
        table = _read_likelihoods(suite, rows, folder / "likelihoods")
        for id_, loss, loss_sum in table.select("id", "loss", "loss_sum").iter_rows():
            losses.setdefault(id_, []).append(loss)
            sums.setdefault(id_, []).append(loss_sum)
        chosen = table.sort("loss", "choice").unique("id", keep="first", maintain_order=True)
    several: dict[str, list[str]] = {}
    if suite.generates:
        generations = read_generations(folder / "generations", sample_ids(ids, samples))
        generations = generations.with_columns(id=pl.Series(id_ for id_ in ids for _ in range(samples)))
        for id_, text in generations.select("id", "text").iter_rows():
            several.setdefault(id_, []).append(text)
        texts = {id_: answers[0] for id_, answers in several.items()}
    else:
        generations = chosen.rename({"answer": "text"}).select("id", "source", "prompt", "text", "num_tokens")
        texts = {}
    order = pl.DataFrame({"id": ids})
    return Outputs(texts, several, losses, sums), order.join(generations, on="id", how="left", maintain_order="left")


def _turns(row: PromptRow, asking: Asking) -> list[Message]:
    return with_instructions(row["messages"], asking.system, asking.cue)


def _prompts(rows: list[PromptRow], asking: Asking) -> list[Prompt]:
    """The id, source and text of each prompt. A row without turns has an empty text: its answers stand alone."""
    return [(row["id"], row["source"], _prompt_text(row, asking)) for row in rows]


def _prompt_text(row: PromptRow, asking: Asking) -> str:
    turns = _turns(row, asking)
    try:
        return prompt_text(asking.tokenizer, turns) if turns else ""
    except UserError as error:
        raise UserError(f"prompt {row['id'][:12]} (source {row['source']}): {error}") from error


def _tell_left_out(rows: list[PromptRow], asking: Asking, what: str) -> None:
    """Prints how many prompts lose their system turn, because the chat template leaves it out."""
    lost = sum(not holds_system(_prompt_text(row, asking), _turns(row, asking)) for row in rows)
    if lost and asking.world.is_main:
        console.print(f"{what}: the chat template leaves out the system turn of {lost} prompts")


def _likelihood_identity(suite: Suite, rows: list[PromptRow], asking: Asking) -> str:
    asked = [[row["id"], row["source"], _turns(row, asking), suite.answers(row)] for row in rows]
    own = [CODE_VERSION, asked, asking.model, asking.batch_tokens, asking.max_length, asking.packing]
    return sha256_value([*own, *([] if asking.packing else [PADDED])])


def _write_likelihoods(
    model: Any, suite: Suite, rows: list[PromptRow], folder: Path, asking: Asking, what: str
) -> None:
    """Writes the loss of every answer; to be called by every rank. A prompt is computed once for all of its answers."""
    wanted = _likelihood_identity(suite, rows, asking)
    if asking.world.is_main:
        begin(folder, wanted)
    barrier()
    limits = limits_in(model.config)
    longest = min(asking.max_length, limits.context)
    groups, keys, cut = _encode(suite, rows, asking, longest)
    named = ((f"{what}, prompt {id_[:12]}", ids) for id_, (ids, _) in zip(keys["id"].to_pylist(), chain(*groups)))
    check_prompts(named, asking.tokenizer, limits)
    if cut and asking.world.is_main:
        console.print(f"{what}: {cut} of {keys.num_rows} answers exceed {longest} tokens with their prompt and are cut")
    how = LossPass(asking.batch_tokens, SHARD_ROWS, asking.packing)
    shared = score_groups(model, groups, keys, folder, how, asking.world, what)
    barrier()
    if asking.world.is_main:
        made = {"identity": wanted, "batch_tokens": asking.batch_tokens, "max_length": longest}
        write_manifest(folder, {**asking.model, **made, "rows": keys.num_rows, "cut": cut, "shared_prompts": shared})
    barrier()


def _encode(
    suite: Suite, rows: list[PromptRow], asking: Asking, longest: int
) -> tuple[list[list[tuple[list[int], list[Turn]]]], pa.Table, int]:
    """The encoded answers of each prompt, a row of KEYS for each answer, and how many answers were cut."""
    asked = [(row, suite.answers(row)) for row in rows if suite.answers(row)]
    messages = [
        [*_turns(row, asking), {"role": "assistant", "content": answer}] for row, answers in asked for answer in answers
    ]
    encoded = tokens.encode(asking.tokenizer, messages, longest)
    each = iter(encoded)
    groups = [[(one.ids, one.turns) for one in islice(each, len(answers))] for _, answers in asked]
    prompts = {id_: clean(text) for id_, _, text in _prompts(rows, asking)}
    keys = [
        (row["id"], row["source"], prompts[row["id"]], number, clean(answer))
        for row, answers in asked
        for number, answer in enumerate(answers)
    ]
    columns = [pa.array(values, field.type) for field, values in zip(KEYS, zip(*keys))]
    return groups, pa.table(columns, schema=KEYS), sum(bool(one.cut) for one in encoded)


def _read_likelihoods(suite: Suite, rows: list[PromptRow], folder: Path) -> pl.DataFrame:
    """The stored rows in the order of the prompts, with `loss`, the mean in nats a token (NaN without a token)."""
    wanted = [(row["id"], number, clean(answer)) for row in rows for number, answer in enumerate(suite.answers(row))]
    order = pl.DataFrame(wanted, schema={"id": pl.String, "choice": pl.Int32, "answer": pl.String}, orient="row")
    stored = scan_shards(folder).with_columns(loss=pl.col("loss_sum") / pl.col("num_tokens")).collect()
    frame = order.join(stored, on=["id", "choice", "answer"], how="left", maintain_order="left")
    if len(stored) != len(frame) or frame["loss_sum"].null_count():
        raise UserError(
            f"{folder} holds other answers than the prompts of suite {suite.name}; run the eval stage again"
        )
    return frame
