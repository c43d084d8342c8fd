"""The parts of a scoring: the losses under M1 (before) and M2 (after), and what else the config asks for.

Each folder below signals/ is a part with an identity of its own, the manifest. A part that is there with the
identity that is asked for is left alone; so another option, or another control set, adds only what lacks.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from forgetfilter.config.schema import GuardConfig
from forgetfilter.data import tokens
from forgetfilter.files import read_json, sha256_file, sha256_value, write_json
from forgetfilter.models.exactness import verify_losses
from forgetfilter.models.identity import folder_hash, weights_hash
from forgetfilter.models.loading import States, attention_backend, compute_dtype, load_tokenizer, resolve
from forgetfilter.models.loss_pass import score_prepared
from forgetfilter.process.distributed import World, barrier, shared
from forgetfilter.score.distances import write_distances
from forgetfilter.score.stage import PARTS, STATES
from forgetfilter.score.token_rises import write_token_rises
from forgetfilter.storage.run_folder import Run
from forgetfilter.storage.shards import begin, shard_paths, whole, write_manifest

STEP_ROWS = 256  # of the parts that read texts: what a rank does between two looks at signals


@dataclass(frozen=True)
class Part:
    """One folder of shards below signals/."""

    folder: Path
    about: dict[str, Any]
    """What it depends on, for the manifest."""
    make: Callable[[], None]
    """Writes its shards; to be called by every rank."""
    asked: bool = True
    """Whether the config asks for it. One that is there all the same stays, as long as it is of this run."""
    tokenwise: bool = False
    """Whether its shards must have the losses of tokens."""

    def stored(self, rows: int) -> bool:
        """Whether it is there, whole, and of this identity."""
        if not whole(self.folder, rows):
            return False
        there = read_json(self.folder / "manifest.json")
        same = all(there.get(key) == value for key, value in self.about.items())
        return same and (not self.tokenwise or _has_tokens(self.folder))


def score(run: Run, world: World) -> None:
    """Makes the parts that are asked for and lack, in order; takes away what is of other data or models."""
    scorer = Scorer(run, world)
    parts = scorer.parts()
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
                write_manifest(part.folder, part.about | {"world_size": world.size})
    barrier()
    if world.is_main:
        asked = [str(part.folder.relative_to(run.signals(""))) for part in parts if part.asked]
        write_json(run.signals(PARTS), asked)


class Scorer:
    """What the parts have in common: the models, the tokens, and how they are scored."""

    def __init__(self, run: Run, world: World):
        self.run, self.world, self.config = run, world, run.config
        self.cache = Path(run.config.cache).expanduser()
        model = run.config.model
        self.base = resolve(model.name, model.revision, self.cache)
        self.tokenizer = load_tokenizer(self.base.path, model.chat_template)
        self.prepared = tokens.prepare(run.noisy_data, self.tokenizer, run.config.data.max_length, self.cache)
        self.attention = attention_backend(model.attention, world.device)
        four_bit = run.config.train.method == "qlora"
        self.dtype = compute_dtype(model.dtype, world.device, four_bit)
        self.states = States(self.base, self.dtype, self.attention, world.device, four_bit)

    def verify(self) -> None:
        packing = self.config.train.packing
        verify_losses(self.base.path, self.attention, self.dtype, self.world.device, packing)

    def parts(self) -> list[Part]:
        """Every part there can be, asked for or not, in the order in which they are made."""
        options = self.config.score
        before, after = (self.losses(state, trained, tokenwise=options.tokens) for state, trained in STATES.items())
        half = options.batch_tokens // 2  # other batches, other rounding
        return [
            before,
            self.losses("noise", "noisy", options.noise, half),
            after,
            self.losses("control", "control") if self.config.has_control else self.none("control"),
            self.losses("base", None, options.base),
            self.token_rises(before, after),
            self.gradients() if self.config.train.method != "full" else self.none("gradients"),
            self.embeddings(options.encoder),
            self.guard(options.guard),
            *(self.rouge(state, trained) for state, trained in STATES.items()),
        ]

    def none(self, name: str) -> Part:
        """No such part: what an earlier config left of it goes."""
        return Part(self.run.signals(name), {"state": "none"}, lambda: None, asked=False)

    def losses(
        self, name: str, trained: str | None, asked: bool = True, batch_tokens: int = 0, tokenwise: bool = False
    ) -> Part:
        """Each noisy example's loss under the model of a training stage; None is M0."""
        folder, config = self.run.signals(name), self.config
        batch_tokens = batch_tokens or config.score.batch_tokens

        def make() -> None:
            sizes, packing = (batch_tokens, config.score.shard_rows), config.train.packing
            with self.states.use(self.run.model(trained) if trained else None) as model:
                score_prepared(model, self.prepared, folder, *sizes, self.world, f"score {name}", packing, tokenwise)

        return Part(folder, self.about(trained, batch_tokens), make, asked, tokenwise)

    def rouge(self, state: str, trained: str) -> Part:
        """ROUGE-1 of each noisy example's greedy answer."""
        options, folder = self.config.score, self.run.signals("rouge1") / state
        about = self.about(trained, options.batch_tokens)
        answers = {"max_new_tokens": options.max_new_tokens, "generation_batch": options.generation_batch}

        def make() -> None:
            with self.states.use(self.run.model(trained)) as model:
                _rouge(self.run, state, model, self.tokenizer, about, self.world)

        return Part(folder, about | answers | {"signal": "rouge1"}, make, options.rouge)

    def token_rises(self, before: Part, after: Part) -> Part:
        """What the losses of single tokens, stored with the two states, say of an example."""
        folder = self.run.signals("tokens")

        def make() -> None:
            if self.world.is_main:
                write_token_rises(before.folder, after.folder, folder)

        about = {"data": self.prepared.identity, "of": sha256_value([before.about, after.about])}
        return Part(folder, about, make, self.config.score.tokens)

    def gradients(self) -> Part:
        """How unlike the safe set's gradients each noisy example's is, under M1."""
        folder, options = self.run.signals("gradients"), self.config.score
        batch_tokens = self.config.train.micro_batch_tokens

        def make() -> None:
            from forgetfilter.score.gradients import Sketcher, side

            safe = tokens.prepare(self.run.safe_data, self.tokenizer, self.config.data.max_length, self.cache)
            with self.states.use(self.run.model("noisy")) as model:
                sketcher = Sketcher(model, options.gradient_dimensions)
                noisy, trusted = (side(sketcher, data, batch_tokens) for data in (self.prepared, safe))
                size, column = options.shard_rows, "gradient_distance"
                write_distances(noisy, trusted, folder, column, size, self.world, "gradients")
                sketcher.close()

        about = self.about("noisy", batch_tokens) | {"safe": sha256_file(self.run.safe_data)}
        return Part(folder, about | {"dimensions": options.gradient_dimensions}, make, options.gradients)

    def embeddings(self, name: str) -> Part:
        """How unlike the safe set's texts each noisy row's is, by a sentence encoder."""
        from forgetfilter.models.sentence_encoder import Encoder, find_encoder
        from forgetfilter.score.embeddings import side

        folder, shard_rows = self.run.signals("embeddings"), self.config.score.shard_rows
        step_rows = min(STEP_ROWS, shard_rows)
        about = {"data": self.prepared.identity, "safe": sha256_file(self.run.safe_data)}
        if not name:
            return Part(folder, about, lambda: None, asked=False)
        source = find_encoder(name)

        def make() -> None:
            encoder = Encoder(source, self.world.device)
            noisy, safe = (side(encoder, data, step_rows) for data in (self.run.noisy_data, self.run.safe_data))
            write_distances(noisy, safe, folder, "embedding_distance", shard_rows, self.world, "embeddings")

        return Part(folder, about | {"encoder": folder_hash(source, self.cache), "step_rows": step_rows}, make)

    def guard(self, options: GuardConfig) -> Part:
        """What a guard model says of each noisy row's answer."""
        from forgetfilter.models.guard_models import open_guard
        from forgetfilter.score.guard_probability import write_chances

        folder, device, shard_rows = self.run.signals("guard"), self.world.device, self.config.score.shard_rows
        step_rows = min(STEP_ROWS, shard_rows)
        about = {"data": self.prepared.identity}
        if not options.name:
            return Part(folder, about, lambda: None, asked=False)
        dtype = compute_dtype(self.config.model.dtype, device)
        guard = open_guard(options, "score.guard", dtype, device, self.cache)

        def make() -> None:
            self.states.release()
            write_chances(guard, self.run.noisy_data, folder, step_rows, shard_rows, self.world)

        return Part(folder, about | {"guard": guard.identity, "batch": options.batch, "step_rows": step_rows}, make)

    def about(self, trained: str | None, batch_tokens: int) -> dict[str, Any]:
        """All that scores depend on, by hash or name; shards.check_comparable says which of it must agree."""
        config, prepared = self.config, self.prepared
        return {
            "state": trained or "base",
            "base_model": self.base.identity,
            "model_name": config.model.name,
            "trained": weights_hash(self.run.model(trained), self.cache) if trained else self.base.identity,
            "tokenizer": tokens.tokenizer_identity(self.tokenizer),
            "chat_template": sha256_value(self.tokenizer.chat_template),
            "data": prepared.identity,
            "max_length": config.data.max_length,
            "cut": prepared.summary["cut"],
            "attention": self.attention,
            "dtype": "nf4" if config.train.method == "qlora" else self.dtype,
            "plan": {"batch_tokens": batch_tokens, "packing": config.train.packing},
            "rows": len(prepared),
        }


def _has_tokens(folder: Path) -> bool:
    shards = shard_paths(folder)
    return not shards or "token_losses" in pq.read_schema(shards[0]).names


def _rouge(run: Run, state: str, model: Any, tokenizer: Any, about: dict[str, Any], world: World) -> None:
    from forgetfilter.data.records import read_records
    from forgetfilter.models.generation import generate
    from forgetfilter.score.rouge import score_rouge

    options = run.config.score
    records = read_records(run.noisy_data)
    prompts = [(r.id, r.source, tokens.prompt_text(tokenizer, r.prompt) if r.prompt else "") for r in records]
    folder = run.signals("rouge1") / f"{state}-generations"
    what = f"generate {state}"
    generate(model, tokenizer, prompts, folder, options.max_new_tokens, options.generation_batch, what, about)
    barrier()
    if world.is_main:
        references = ((r.id, r.source, r.answer) for r in read_records(run.noisy_data))
        score_rouge(folder, references, run.signals("rouge1") / state, about)
