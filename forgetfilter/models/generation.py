"""Writes answers, greedy or sampled, to Parquet shards. It resumes by batch, and any number of ranks gives the same.

Greedy decoding in low precision depends on who shares a batch, so batches are planned once for the whole data
(sorted by length) and handed to ranks whole. A folder of generations holds `plan.json` (the identity of what is
being generated), a shard for each batch, and `manifest.json`, written last. Shards of another identity are deleted.

With a cache, an answer is kept under the hash of model, settings and prompt, and no other run makes it again. It is
then the answer of its first batch; in low precision another batch may break a near tie differently.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import torch

from forgetfilter.data.records import clean
from forgetfilter.data.tokens import encode_prompts, first_tokens, keep_end, split_prompts
from forgetfilter.errors import UserError
from forgetfilter.files import sha256_value
from forgetfilter.models.limits import check_prompts, limits_in
from forgetfilter.models.plain_answers import by_own_settings, end_tokens, opening, plain_settings, say_left_out
from forgetfilter.models.sampling import Draw, Drawn, Sampling, draws, sample_ids
from forgetfilter.models.vllm_engine import VllmModel
from forgetfilter.process import interrupts
from forgetfilter.process.distributed import barrier, gathered, shared, world
from forgetfilter.process.progress import console, progress
from forgetfilter.storage.cache import keep, read_kept
from forgetfilter.storage.shards import begin, intact, merged, read_manifest, shard_path, write_manifest, write_shard
from forgetfilter.storage.steps import finished_steps

Prompt = tuple[str, str, str]  # id, source, text of the prompt as the model is given it
CODE_VERSION = 3  # raise it when the answer to an unchanged prompt changes
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("prompt", pa.string()),
        ("text", pa.string()),  # the answer, without special tokens
        ("num_tokens", pa.int32()),  # generated, the end-of-sequence token not counted
        ("rank", pa.int32()),
        ("step", pa.int32()),  # number of the batch
        ("epoch", pa.int32()),  # 0: there is but one pass
    ]
)


@dataclass(frozen=True)
class Decoding:
    """How prompts are answered."""

    max_new_tokens: int
    batch_size: int
    sampling: Sampling | None = None
    """None for greedy answers; otherwise each prompt has several, whose ids are those of `sample_ids`."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """What else the answers depend on: model, adapter, template, ..."""
    cache: Path | None = None
    """The folder in which answers are kept for other runs."""

    @property
    def samples(self) -> int:
        return self.sampling.samples if self.sampling else 1

    def identity(self, prompts: Sequence[Prompt]) -> str:
        """The hash of all that the answers depend on."""
        cleaned = [[id_, source, clean(text)] for id_, source, text in prompts]
        drawn = [asdict(self.sampling)] if self.sampling else []
        return sha256_value([CODE_VERSION, cleaned, self.max_new_tokens, self.batch_size, self.manifest, *drawn])

    def kept(self) -> Path | None:
        """Where answers of this model and these settings are kept, for any batch and whatever a run calls the model."""
        if self.cache is None:
            return None
        about = {key: value for key, value in self.manifest.items() if key != "state"}
        drawn = (
            {key: value for key, value in asdict(self.sampling).items() if key != "samples"} if self.sampling else None
        )
        return self.cache / "generations" / sha256_value([CODE_VERSION, self.max_new_tokens, about, drawn])[:32]


def generate(model: Any, tokenizer: Any, prompts: Sequence[Prompt], folder: Path, how: Decoding, what: str) -> None:
    """Writes the answers to all prompts to shards below `folder`; to be called by every rank.

    Batches that whole shards already hold are left out, whatever world size wrote them, and so are answers in the
    cache. Raises Stopped after a signal, with every finished batch saved.
    """
    here = world()
    wanted = how.identity(prompts)
    if here.is_main:
        begin(folder, wanted)
        say_left_out(model, what)
    barrier()
    lengths = _lengths(model, tokenizer, prompts, what)
    cut = sum(length > _room(model, how.max_new_tokens) for length in lengths)
    if cut and here.is_main:
        console.print(f"{what}: {cut} of {len(prompts)} prompts do not fit into the context, and lose their beginning")
    ids = sample_ids([id_ for id_, _, _ in prompts], how.samples)
    asked = [(id_, *prompts[place // how.samples][1:]) for place, id_ in enumerate(ids)]
    plan = plan_batches([length for length in lengths for _ in range(how.samples)], how.batch_size)
    work = _Work(model, tokenizer, asked, how)
    done = finished_steps(folder, here)
    todo = [step for step in range(len(plan)) if step not in done]
    with progress(what, len(plan), len(done)) as meter:
        meter.work.answers = True
        for first in range(0, len(todo), here.size):  # the same number of rounds on every rank
            if first + here.rank < len(todo):
                step = todo[first + here.rank]
                batch, answers = work.answers(plan[step])
                write_shard(shard_path(folder, here.rank, step), _table(batch, answers, here.rank, step))
            # of several ranks none knows what the others made before the end
            meter.advance(min(here.size, len(todo) - first), work.made - meter.work.tokens if here.size == 1 else 0)
            interrupts.stop_if_requested(what)
        meter.work.tokens = sum(gathered(work.made))
    barrier()
    if here.is_main:
        work.keep(read_generations(folder, ids))
        about = {"identity": wanted, "max_new_tokens": how.max_new_tokens, "batch_size": how.batch_size, "cut": cut}
        about |= {"sampling": asdict(how.sampling)} if how.sampling else {}
        write_manifest(folder, {**how.manifest, **about, "rows": len(asked), "world_size": here.size})
    barrier()


class _Work:
    """The prompts, one entry for each sample, with the answers of earlier runs. Every rank must make one."""

    def __init__(self, model: Any, tokenizer: Any, prompts: list[Prompt], how: Decoding):
        self.model, self.tokenizer, self.prompts, self.how = model, tokenizer, prompts, how
        texts = [text for _, _, text in prompts]
        self.numbers = draws(texts, how.sampling, how.max_new_tokens) if how.sampling else torch.empty(0)
        self.keys = [sha256_value([clean(text), number % how.samples]) for number, text in enumerate(texts)]
        place = how.kept()
        self.known = shared(read_kept(place, set(self.keys)) if place and world().is_main else {})
        self.made = 0  # tokens of the answers that this rank has made

    def answers(self, rows: list[int]) -> tuple[list[Prompt], list[tuple[str, int]]]:
        """The prompts of a batch with their answers, which are taken from the cache or made now."""
        sampling, new = self.how.sampling, [row for row in rows if self.keys[row] not in self.known]
        drawn = (self.numbers[new], sampling.temperature, sampling.top_p) if sampling else None
        texts, length = [self.prompts[row][2] for row in new], self.how.max_new_tokens
        made = dict(zip(new, generate_batch(self.model, self.tokenizer, texts, length, drawn))) if new else {}
        self.made += sum(tokens for _, tokens in made.values())
        found = [made[row] if row in made else self.known[self.keys[row]] for row in rows]
        return [self.prompts[row] for row in rows], found

    def keep(self, frame: pl.DataFrame) -> None:
        """Puts the answers that were made now into the cache, from the table of all."""
        if place := self.how.kept():
            pairs = zip(self.keys, zip(frame["text"], frame["num_tokens"]))
            new = {key: answer for key, answer in pairs if key not in self.known}
            keep(place, new, {"text": pl.String, "num_tokens": pl.Int32})


def _lengths(model: Any, tokenizer: Any, prompts: Sequence[Prompt], what: str) -> list[int]:
    """The number of tokens of each prompt. Raises UserError for one that the model cannot read."""
    encoded = encode_prompts(tokenizer, [text for _, _, text in prompts])
    named = (f"{what}, prompt {id_[:12]}" for id_, _, _ in prompts)
    check_prompts(zip(named, encoded), tokenizer, limits_in(model.config))
    return [len(ids) for ids in encoded]


def generate_batch(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    max_new_tokens: int,
    drawn: Drawn | None = None,
    watch: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> list[tuple[str, int]]:
    """(text, tokens without EOS) of the answer to each prompt; a torch model has them padded on the left to one batch.

    The text begins where that of a learned answer does: after a blank that ends the prompt, and after what the chat
    template writes before every answer. Greedy, or by the numbers of `drawn`. A prompt that leaves no room for the
    answer in the model's context loses its beginning. `watch` is given the tokens so far [E, width] and the logits
    [E, V] of each step, and returns the logits.
    """
    room = _room(model, max_new_tokens)
    first = first_tokens(tokenizer)
    asked = split_prompts(tokenizer, texts)
    encoded = [keep_end(ids, room, first) for ids, _ in asked]
    ends, learned = end_tokens(model, tokenizer), opening(tokenizer)
    openings = [left + (learned if text else "") for text, (_, left) in zip(texts, asked)]
    if isinstance(model, VllmModel):
        made = model.new_tokens(encoded, max_new_tokens, ends, drawn)
        return [_answer(tokenizer, row, ends, before) for row, before in zip(made, openings)]
    width = max(len(ids) for ids in encoded)
    config = plain_settings(model, tokenizer, max_new_tokens)
    pad: int = config.pad_token_id
    device = next(model.parameters()).device
    inputs = torch.tensor([[pad] * (width - len(ids)) + ids for ids in encoded], device=device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded], device=device)
    chosen = [*([watch] if watch else []), *([Draw(drawn, width, device)] if drawn else [])]
    with torch.inference_mode(), by_own_settings(model, config):
        output = model.generate(
            input_ids=inputs, attention_mask=mask, generation_config=config, logits_processor=chosen
        )
    return [_answer(tokenizer, row, ends, before) for row, before in zip(output[:, width:].tolist(), openings)]


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers by batch: sorted by tokens, equal lengths in the order of the data."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def is_complete(folder: Path, wanted: str) -> bool:
    """Whether the folder holds all answers of that identity, each as it was written."""
    if not (folder / "manifest.json").exists():
        return False
    about = read_manifest(folder)
    return about.get("identity") == wanted and intact(folder, about["rows"])


def read_generations(folder: Path, expected_ids: Sequence[str] | None = None) -> pl.DataFrame:
    """`id, source, prompt, text, num_tokens` in the order of the expected ids, or by id without these.

    Every expected id is proven to be there exactly once.
    """
    if expected_ids is not None and not expected_ids:
        return pl.DataFrame(SCHEMA.empty_table()).select("id", "source", "prompt", "text", "num_tokens")
    frame = merged(folder, expected_ids).select("id", "source", "prompt", "text", "num_tokens")
    if expected_ids is None:
        return frame
    return pl.DataFrame({"id": list(expected_ids)}).join(frame, on="id", how="left", maintain_order="left")


def _room(model: Any, max_new_tokens: int) -> int:
    """The number of prompt tokens that fit into the model's context beside the answer."""
    context = limits_in(model.config).context
    if context <= max_new_tokens:
        raise UserError(f"max_new_tokens is {max_new_tokens}, but the model's context has {context} tokens: lower it")
    return context - max_new_tokens


def _answer(tokenizer: Any, tokens: list[int], ends: list[int], opening: str) -> tuple[str, int]:
    """(text, tokens) of an answer up to the first end token, without the opening. What follows it is padding."""
    length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return clean(tokenizer.decode(tokens[:length], skip_special_tokens=True)).removeprefix(opening), length


def _table(batch: Sequence[Prompt], answers: Sequence[tuple[str, int]], rank: int, step: int) -> pa.Table:
    rows = [
        (id_, clean(source), clean(prompt), text, num_tokens, rank, step, 0)
        for (id_, source, prompt), (text, num_tokens) in zip(batch, answers)
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(zip(*rows), SCHEMA)], schema=SCHEMA)
