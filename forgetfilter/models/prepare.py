"""Prepares what a node needs before its ranks join: the model on its disk and the tokens of a data set.

Ranks that wait in a collective for one that still tokenises, downloads or converts would run into their time-out. So
this happens before the process group is joined. The first process to reach a cache folder does the work under a file
lock, and the others find it done: one process of the cluster on a shared cache, and one of each node on local ones.
"""

from pathlib import Path

from forgetfilter.config.schema import ScoreConfig
from forgetfilter.data.token_files import Prepared, prepare
from forgetfilter.files import sha256_file
from forgetfilter.models.guard_models import find_guard
from forgetfilter.models.identity import folder_hash
from forgetfilter.models.limits import check_tokens, limits_of
from forgetfilter.models.sentence_encoder import find_encoder
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.progress import console


def prepare_tokens(model: ModelSettings, data: Path, max_length: int) -> Prepared:
    """The tokens of a file of records, for which the model is fetched too. Raises UserError for an unreadable row."""
    tokenizer = model.tokenizer()
    prepared = prepare(data, tokenizer, max_length, model.cache)
    check_tokens(prepared, tokenizer, data, limits_of(model.base().path))
    return prepared


def prepare_before_launch(model: ModelSettings, data: Path, max_length: int) -> None:
    """Tokenises once before anything distributed starts, since waiting ranks would run into their time-out."""
    summary = prepare_tokens(model, data, max_length).summary
    most = min(max_length, limits_of(model.base().path).context)
    whose = ", the model's context" if most < max_length else ""
    cut = f", {summary['cut']} of them cut to {most} tokens{whose}" if summary["cut"] else ""
    console.print(f"{data.name}: {summary['rows']} examples, {summary['tokens']} tokens{cut}")
    if unread := summary["unread"]:
        console.print(f"{data.name}: {unread} rows have answers that go on behind the cut: that text is not learned")
    if left := summary.get("answers_left"):
        why = "tool calls without text, or earlier answers with data.learn=last"
        console.print(f"{data.name}: in {left} rows turns of the assistant are not learned and not scored: {why}")
    if lost := summary.get("system_left_out"):
        console.print(f"{data.name}: the chat template leaves out the system turn of {lost} rows: it is not learned")


def find_other_models(options: ScoreConfig) -> dict[str, Path]:
    """The folders of the further models that the scoring asks: the encoder and the guard, found or fetched."""
    found = {}
    if options.encoder:
        found["encoder"] = find_encoder(options.encoder)
    if options.guard.name:
        found["guard"] = find_guard(options.guard, "score.guard")
    return found


def model_files(model: ModelSettings, deepspeed: str | None) -> dict[str, str | None]:
    """The files from outside that a training reads, by content: the released model's and DeepSpeed's."""
    own = sha256_file(Path(deepspeed)) if deepspeed and Path(deepspeed).is_file() else None
    return {"model": folder_hash(model.base().path, model.cache), "deepspeed": own}


def scoring_files(model: ModelSettings, deepspeed: str | None, options: ScoreConfig) -> dict[str, str | None]:
    """Like `model_files`, with the other models that the scoring asks, which are found or fetched."""
    others = {key: folder_hash(folder, model.cache) for key, folder in find_other_models(options).items()}
    return model_files(model, deepspeed) | others
