"""The parts of a scoring: the losses under M1 (before) and M2 (after), and others that the config asks for.

Each folder below signals/ is a part with an identity of its own, the manifest. A part that is there
with the identity that is asked for is left alone, so another option, or another control set, adds only what is missing.
"""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from forgetfilter.config.schema import GuardConfig
from forgetfilter.data import tokens
from forgetfilter.data.rectangles import PADDED, laid_out
from forgetfilter.data.rendering import prompt_text
from forgetfilter.data.token_files import Prepared, prepare
from forgetfilter.files import read_json, sha256_file, sha256_value, write_json
from forgetfilter.models.ceiling import Arithmetic, Asked, arithmetic
from forgetfilter.models.exactness import verify_losses
from forgetfilter.models.fitting import answers_at_once
from forgetfilter.models.identity import folder_hash, weights_hash
from forgetfilter.models.loading import States
from forgetfilter.models.loss_pass import LossPass, measured_tokens, score_prepared
from forgetfilter.process.distributed import World, barrier, shared
from forgetfilter.score.batch_size import BatchSize, FullError
from forgetfilter.score.distances import write_distances
from forgetfilter.score.rises import TOKEN_LISTS, TURN_LISTS, token_columns, turn_columns, write_rises
from forgetfilter.score.stage import PARTS, Scoring
from forgetfilter.storage.shards import STATES, begin, intact, shard_paths, write_manifest, write_shard

STEP_ROWS = 256  # of the parts that read texts: the work of a rank between two checks for signals


@dataclass(frozen=True)
class Part:
    """One folder of shards below signals/."""

    folder: Path
    about: dict[str, Any]
    """All that it depends on, for the manifest."""
    make: Callable[[], None]
    """Writes its shards; to be called by every rank."""
    asked: bool = True
    """Whether the config asks for it. A part that nobody asks for stays all the same, as long as it is of this run."""
    tokenwise: bool = False
    """Whether its shards must have the loss of each token."""

    def stored(self, rows: int) -> bool:
        """Whether the part is there and whole, with this identity."""
        if not intact(self.folder, rows):
            return False
        there = read_json(self.folder / "manifest.json")
        same = all(there.get(key) == value for key, value in self.about.items())
        return same and (not self.tokenwise or _has_tokens(self.folder))


def score(scoring: Scoring, world: World) -> None:
    """Makes the missing parts that are asked for, in order, and deletes those of other data or models.

    Where data.batch_tokens=auto was too much for the memory, everything is scored anew in smaller batches: states are
    compared only where their batches are the same.
    """
    scorer = Scorer(scoring, world)
    while True:
        with contextlib.suppress(FullError):
            return _make_parts(scorer)
        scorer.size.shrink()


def _make_parts(scorer: "Scorer") -> None:
    scoring, world = scorer.scoring, scorer.world
    signals = scoring.paths.signals
    parts, unread = scorer.parts(), scorer.prepared.unread()
    stored = [part.stored(len(scorer.prepared)) for part in parts] if world.is_main else []  # one rank reads for all
    pending = [part for part, there in zip(parts, shared(stored)) if not there]
    if any(part.asked for part in pending):
        scorer.verify()
    for part in pending:
        if world.is_main:
            if part.asked:
                begin(part.folder, sha256_value([part.about, part.tokenwise]))
            else:
                shutil.rmtree(part.folder, ignore_errors=True)
        barrier()
        if part.asked:
            part.make()
            barrier()
            if world.is_main:
                write_manifest(part.folder, part.about | {"world_size": world.size, "unread": len(unread)})
    barrier()
    if world.is_main:
        scoring.paths.unread.unlink(missing_ok=True)
        if len(unread):
            write_shard(scoring.paths.unread, pa.table({"id": unread}))
        asked = [str(part.folder.relative_to(signals(""))) for part in parts if part.asked]
        write_json(signals(PARTS), asked)


class Scorer:
    """What the parts have in common: the models, the tokens, and how they are scored."""

    def __init__(self, scoring: Scoring, world: World):
        self.scoring, self.world, self.options = scoring, world, scoring.options
        self.paths, self.cache = scoring.paths, scoring.model.cache
        self.base, self.tokenizer = scoring.model.base(), scoring.model.tokenizer()
        self.prepared = self.tokens(self.paths.noisy_data)
        self.numerics = scoring.model.on(world.device)
        self.states = States(self.base, self.numerics)
        longest = max(self.prepared.lengths(), default=0)
        self.size = BatchSize(scoring.batch_tokens, self.paths.batch_tokens, int(longest), world, self.measured)

    def measured(self) -> int:
        """The most tokens of a batch that this GPU holds."""
        longest = max(self.prepared.lengths(), default=1)
        with self.states.use(None) as model:
            return measured_tokens(model, int(longest), self.world.device, self.scoring.packing)

    @cached_property
    def arithmetic(self) -> Arithmetic | None:
        """For the meters; to be asked for by every rank."""
        asked = Asked(self.base.path, self.numerics.dtype, self.cache)
        return arithmetic(asked, self.prepared.lengths(), self.prepared.num_labels(), self.world)

    def tokens(self, data: Path) -> Prepared:
        return prepare(data, self.tokenizer, self.scoring.max_length, self.cache)

    def verify(self) -> None:
        own = self.numerics
        verify_losses(self.base.path, own.attention, own.dtype, own.device, self.scoring.packing)

    def parts(self) -> list[Part]:
        """Every possible part, asked for or not, in the order in which they are made."""
        options = self.options
        before, after = (self.losses(state, trained, tokenwise=options.tokens) for state, trained in STATES.items())
        half = self.size.tokens // 2  # other batches round differently
        return [
            before,
            self.losses("noise", "noisy", options.noise, half),
            after,
            self.losses("control", "control") if self.scoring.has_control else self.none("control"),
            self.losses("base", None, options.base),
            self.rises("tokens", before, after, options.tokens),
            self.rises("turns", before, after, self.prepared.several_answers),
            self.gradients() if self.scoring.has_adapters else self.none("gradients"),
            self.embeddings(options.encoder),
            self.guard(options.guard),
            *(self.rouge(state, trained) for state, trained in STATES.items()),
        ]

    def none(self, name: str) -> Part:
        """A part that is not asked for: what an earlier config left of it is deleted."""
        return Part(self.paths.signals(name), {"state": "none"}, lambda: None, asked=False)

    def losses(
        self, name: str, trained: str | None, asked: bool = True, batch_tokens: int = 0, tokenwise: bool = False
    ) -> Part:
        """Each noisy example's loss under the model of a training stage; None stands for M0."""
        folder, options = self.paths.signals(name), self.options
        batch_tokens = batch_tokens or self.size.tokens

        def make() -> None:
            scored = LossPass(batch_tokens, options.shard_rows, self.scoring.packing, tokenwise, self.arithmetic)
            with self.states.use(self.paths.model(trained) if trained else None) as model:
                try:
                    score_prepared(model, self.prepared, folder, scored, self.world, f"score {name}")
                except torch.OutOfMemoryError as error:
                    raise (FullError if self.size.may_shrink else error) from None

        return Part(folder, self.about(trained, batch_tokens), make, asked, tokenwise)

    def rouge(self, state: str, trained: str) -> Part:
        """ROUGE-1 of each noisy example's greedy answer."""
        options, folder = self.options, self.paths.signals("rouge1") / state
        about = self.about(trained, self.size.tokens)
        tokens = self.scoring.max_length + options.max_new_tokens
        together = answers_at_once(options.generation_batch, self.base.path, tokens, self.world.device)
        answers = {"max_new_tokens": options.max_new_tokens, "generation_batch": together}

        def make() -> None:
            with self.states.use(self.paths.model(trained)) as model:
                self.write_rouge(state, model, about, together)

        return Part(folder, about | answers | {"signal": "rouge1"}, make, options.rouge)

    def write_rouge(self, state: str, model: torch.nn.Module, about: dict[str, Any], together: int) -> None:
        """Writes the answers of one state, and their ROUGE-1."""
        from forgetfilter.data.records import read_records
        from forgetfilter.models.generation import Decoding, generate
        from forgetfilter.score.rouge import score_rouge

        options, data = self.options, self.paths.noisy_data
        records = read_records(data)
        prompts = [(r.id, r.source, prompt_text(self.tokenizer, r.prompt) if r.prompt else "") for r in records]
        folder = self.paths.signals("rouge1") / f"{state}-generations"
        how = Decoding(options.max_new_tokens, together, manifest=about)
        generate(model, self.tokenizer, prompts, folder, how, f"generate {state}")
        barrier()
        if self.world.is_main:
            references = ((r.id, r.source, r.answer) for r in read_records(data))
            score_rouge(folder, references, self.paths.signals("rouge1") / state, about)

    def rises(self, name: Literal["tokens", "turns"], before: Part, after: Part, asked: bool) -> Part:
        """A few numbers for each example, from the losses of its tokens or answers that are stored with the states."""
        folder = self.paths.signals(name)
        known = {"tokens": (TOKEN_LISTS, token_columns()), "turns": (TURN_LISTS, turn_columns())}

        def make() -> None:
            if self.world.is_main:
                write_rises(before.folder, after.folder, folder, *known[name])

        about = {"data": self.prepared.identity, "of": sha256_value([before.about, after.about])}
        return Part(folder, about, make, asked)

    def gradients(self) -> Part:
        """How unlike the safe set's gradients each noisy example's is, under M1."""
        folder, options = self.paths.signals("gradients"), self.options
        batch_tokens = self.scoring.micro_batch_tokens

        def make() -> None:
            from forgetfilter.score.gradients import Sketcher, vectors

            safe = self.tokens(self.paths.safe_data)
            with self.states.use(self.paths.model("noisy")) as model:
                sketcher = Sketcher(model, options.gradient_dimensions)
                noisy, trusted = (vectors(sketcher, data, batch_tokens) for data in (self.prepared, safe))
                size, column = options.shard_rows, "gradient_distance"
                write_distances(noisy, trusted, folder, column, size, self.world, "gradients")
                sketcher.close()

        about = self.about("noisy", batch_tokens) | {"safe": sha256_file(self.paths.safe_data)}
        return Part(folder, about | {"dimensions": options.gradient_dimensions, **PADDED}, make, options.gradients)

    def embeddings(self, name: str) -> Part:
        """How unlike the safe set's texts each noisy row's is, by a sentence encoder."""
        from forgetfilter.models.sentence_encoder import Encoder, find_encoder
        from forgetfilter.score.embeddings import vectors

        folder, shard_rows = self.paths.signals("embeddings"), self.options.shard_rows
        step_rows = min(STEP_ROWS, shard_rows)
        about = {"data": self.prepared.identity, "safe": sha256_file(self.paths.safe_data)}
        if not name:
            return Part(folder, about, lambda: None, asked=False)
        source = find_encoder(name)

        def make() -> None:
            encoder = Encoder(source, self.world.device)
            noisy, safe = (vectors(encoder, data, step_rows) for data in (self.paths.noisy_data, self.paths.safe_data))
            write_distances(noisy, safe, folder, "embedding_distance", shard_rows, self.world, "embeddings")

        return Part(folder, about | {"encoder": folder_hash(source, self.cache), "step_rows": step_rows}, make)

    def guard(self, options: GuardConfig) -> Part:
        """A guard model's probability that each noisy row's answer is harmful."""
        from forgetfilter.models.guard_models import open_guard
        from forgetfilter.score.guard_probability import write_probabilities

        folder, device, shard_rows = self.paths.signals("guard"), self.world.device, self.options.shard_rows
        step_rows = min(STEP_ROWS, shard_rows)
        about = {"data": self.prepared.identity}
        if not options.name:
            return Part(folder, about, lambda: None, asked=False)
        dtype = self.scoring.model.plain_dtype(device)
        guard = open_guard(options, "score.guard", dtype, device, self.cache)

        def make() -> None:
            self.states.release()
            write_probabilities(guard, self.paths.noisy_data, folder, step_rows, shard_rows, self.world)

        return Part(folder, about | {"guard": guard.identity, "batch": options.batch, "step_rows": step_rows}, make)

    def about(self, trained: str | None, batch_tokens: int) -> dict[str, Any]:
        """All that scores depend on, by hash or name; shards.check_comparable says which of it must agree."""
        prepared = self.prepared
        return {
            "state": trained or "base",
            "base_model": self.base.identity,
            "model_name": self.scoring.model.name,
            "trained": weights_hash(self.paths.model(trained), self.cache) if trained else self.base.identity,
            "tokenizer": tokens.tokenizer_identity(self.tokenizer),
            "chat_template": sha256_value(self.tokenizer.chat_template),
            "data": prepared.identity,
            "max_length": self.scoring.max_length,
            "cut": prepared.summary["cut"],
            "attention": self.numerics.attention,
            "dtype": self.numerics.storage,
            "plan": {"batch_tokens": batch_tokens, **laid_out(self.scoring.packing)},
            "rows": len(prepared),
        }


def _has_tokens(folder: Path) -> bool:
    shards = shard_paths(folder)
    return not shards or "token_losses" in pq.read_schema(shards[0]).names
