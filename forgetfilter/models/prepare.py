"""What a node needs before its ranks meet: the model on its disk and the tokens of a data set.

Ranks that wait in a collective for one that still tokenises, downloads or converts would run into their time-out. So
this comes before the process group is joined: whoever is first on a cache folder does it, under a file lock, and the
others find it done. On a shared cache that is one process a cluster, on node-local ones one a node.
"""

from pathlib import Path

from forgetfilter.data import tokens
from forgetfilter.files import sha256_file
from forgetfilter.models.guard_models import find_guard
from forgetfilter.models.identity import folder_hash
from forgetfilter.models.limits import check_tokens, limits_of
from forgetfilter.models.loading import ModelRef, load_tokenizer, resolve
from forgetfilter.models.sentence_encoder import find_encoder
from forgetfilter.process.progress import console
from forgetfilter.storage.run_folder import Run


def prepare_model(run: Run) -> ModelRef:
    """The released model, fetched or converted, and its hash known."""
    config = run.config
    return resolve(config.model.name, config.model.revision, Path(config.cache).expanduser())


def prepare_tokens(run: Run, data: Path) -> tokens.Prepared:
    """The tokens of one of the run's data files, and so the model too.

    UserError for a row that the model cannot read.
    """
    base, config = prepare_model(run), run.config
    tokenizer = load_tokenizer(base.path, config.model.chat_template)
    prepared = tokens.prepare(data, tokenizer, config.data.max_length, Path(config.cache).expanduser())
    check_tokens(prepared, tokenizer, data, limits_of(base.path))
    return prepared


def prepare_before_launch(run: Run, data: Path) -> None:
    """Tokenises once, before anything distributed starts: ranks that wait for it would run into their time-out."""
    summary, wanted = prepare_tokens(run, data).summary, run.config.data.max_length
    most = min(wanted, limits_of(prepare_model(run).path).context)
    whose = ", the model's context" if most < wanted else ""
    cut = f", {summary['cut']} of them cut to {most} tokens{whose}" if summary["cut"] else ""
    console.print(f"{data.name}: {summary['rows']} examples, {summary['tokens']} tokens{cut}")


def prepare_rivals(run: Run) -> dict[str, Path]:
    """The folders of the further models that the scoring asks: the encoder and the guard, found or fetched."""
    options, found = run.config.score, {}
    if options.encoder:
        found["encoder"] = find_encoder(options.encoder)
    if options.guard.name:
        found["guard"] = find_guard(options.guard, "score.guard")
    return found


def model_files(run: Run) -> dict[str, str | None]:
    """The files from outside that a training reads, by content: the released model's and DeepSpeed's."""
    base, given = prepare_model(run).path, run.config.train.deepspeed
    deepspeed = sha256_file(Path(given)) if given and Path(given).is_file() else None
    return {"model": folder_hash(base, Path(run.config.cache).expanduser()), "deepspeed": deepspeed}


def scoring_files(run: Run) -> dict[str, str | None]:
    """As `model_files`, with the further models that the scoring asks: these are found or fetched."""
    cache = Path(run.config.cache).expanduser()
    return model_files(run) | {key: folder_hash(folder, cache) for key, folder in prepare_rivals(run).items()}
