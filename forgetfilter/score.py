"""The score stage: every noisy example under M1 (before) and M2 (after).

forgetfilter score CONFIG          or, as one of several ranks:   torchrun ... -m forgetfilter.score RUN
"""

import sys
from pathlib import Path
from typing import Any

from forgetfilter import interrupts, tokens
from forgetfilter.distributed import World, barrier, process_group
from forgetfilter.entry import guard
from forgetfilter.files import sha256_value
from forgetfilter.models import ModelRef, States, attention_backend, compute_dtype, folder_hash, load_tokenizer, resolve
from forgetfilter.preparing import prepare_tokens
from forgetfilter.runs import Run
from forgetfilter.scoring import score_prepared, verify_losses
from forgetfilter.shards import write_manifest
from forgetfilter.token_rises import write_token_rises

STATES = {"before": "noisy", "after": "safe"}  # signals of which training stage's model
ONCE_MORE = {"base": None, "noise": "noisy"}  # where score.base and score.noise ask for it; None is M0


def main(argv: list[str]) -> None:
    """Scores both states of the run folder `argv[0]`, as one rank of the world."""
    run = Run.open(Path(argv[0]), argv[1:])
    interrupts.install()
    prepare_tokens(run, run.noisy_data)
    with process_group() as world:
        score(run, world)


def score(run: Run, world: World) -> None:
    config = run.config
    cache = Path(config.cache).expanduser()
    base = resolve(config.model.name, config.model.revision, cache)
    tokenizer = load_tokenizer(base.path, config.model.chat_template)
    prepared = tokens.prepare(run.noisy_data, tokenizer, config.data.max_length, cache)
    attention = attention_backend(config.model.attention, world.device)
    four_bit = config.train.method == "qlora"
    dtype = compute_dtype(config.model.dtype, world.device, four_bit)
    verify_losses(base.path, attention, dtype, world.device, config.train.packing)
    states = States(base, dtype, attention, world.device, four_bit)
    asked = STATES | {state: trained for state, trained in ONCE_MORE.items() if getattr(config.score, state)}
    for state, trained in asked.items():
        folder = run.signals(state)
        if (folder / "manifest.json").exists():
            continue
        batch_tokens = config.score.batch_tokens // (2 if state == "noise" else 1)  # other batches, other rounding
        manifest = _manifest(run, base, trained, tokenizer, prepared, attention, world, batch_tokens)
        tokenwise = config.score.tokens and state in STATES
        with states.use(run.model(trained) if trained else None) as model:
            sizes, packing = (batch_tokens, config.score.shard_rows), config.train.packing
            score_prepared(model, prepared, folder, *sizes, world, f"score {state}", packing, tokenwise)
            if config.score.rouge and state in STATES:
                _rouge(run, state, model, tokenizer, manifest, world)
        barrier()
        if world.is_main:
            write_manifest(folder, manifest)
        barrier()
    rises = run.folder / "signals" / "tokens"
    if config.score.tokens and world.is_main and not (rises / "manifest.json").exists():
        write_token_rises(run.signals("before"), run.signals("after"), rises, prepared.identity)
    barrier()


def _manifest(
    run: Run,
    base: ModelRef,
    trained: str | None,
    tokenizer: Any,
    prepared: tokens.Prepared,
    attention: str,
    world: World,
    batch_tokens: int,
) -> dict[str, Any]:
    """All that the scores depend on, by hash or name; shards.check_comparable says which of it must agree."""
    return {
        "state": trained or "base",
        "base_model": base.identity,
        "model_name": run.config.model.name,
        "trained": folder_hash(run.model(trained), Path(run.config.cache).expanduser()) if trained else base.identity,
        "tokenizer": tokens.tokenizer_identity(tokenizer),
        "chat_template": sha256_value(tokenizer.chat_template),
        "data": prepared.identity,
        "max_length": run.config.data.max_length,
        "cut": prepared.summary["cut"],
        "attention": attention,
        "dtype": "nf4" if run.config.train.method == "qlora" else compute_dtype(run.config.model.dtype, world.device),
        "plan": {"batch_tokens": batch_tokens, "packing": run.config.train.packing},
        "world_size": world.size,
        "rows": len(prepared),
    }


def _rouge(run: Run, state: str, model: Any, tokenizer: Any, manifest: dict[str, Any], world: World) -> None:
    from forgetfilter.generation import generate
    from forgetfilter.records import read_records
    from forgetfilter.rouge import score_rouge

    options = run.config.score
    records = read_records(run.noisy_data)
    prompts = [(r.id, r.source, tokens.prompt_text(tokenizer, r.prompt) if r.prompt else "") for r in records]
    folder = run.folder / "signals" / "rouge1" / f"{state}-generations"
    what = f"generate {state}"
    same = {key: value for key, value in manifest.items() if key != "world_size"}  # a resume may have another one
    generate(model, tokenizer, prompts, folder, options.max_new_tokens, options.generation_batch, what, same)
    barrier()
    if world.is_main:
        references = ((r.id, r.source, r.answer) for r in read_records(run.noisy_data))
        score_rouge(folder, references, run.folder / "signals" / "rouge1" / state, manifest)


if __name__ == "__main__":
    raise SystemExit(guard(lambda: main(sys.argv[1:])))
