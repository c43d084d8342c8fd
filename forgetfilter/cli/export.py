"""forgetfilter export RUN: the refit as an adapter or a whole model, with a card; to the hub only if that is asked."""

import argparse
import os
import re
import shutil
from pathlib import Path
from typing import Any

from forgetfilter.cli.parser import Commands
from forgetfilter.errors import UserError, reason
from forgetfilter.files import atomic_folder, read_json, write_json, write_text
from forgetfilter.models.embedded import EMBEDDED
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process.progress import console
from forgetfilter.storage.run_folder import Run

DEMO = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")  # what the embedded model is on the hub
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")


def add(commands: Commands) -> None:
    """The command's place in the command line."""
    words = "the refit as an adapter, or merged, with a model card; the last line of stdout is its folder"
    command = commands.add_parser("export", help=words, description=words)
    command.set_defaults(work=export)
    command.add_argument("target", metavar="RUN", help="a run folder whose refit is done")
    command.add_argument("--merge", action="store_true", help="a whole model in the place of an adapter")
    command.add_argument(
        "--out", type=Path, metavar="FOLDER", help="a new folder; without it RUN/export/adapter or merged"
    )
    command.add_argument("--base-model", metavar="ID", help="the released model's hub id, where model.name is a folder")
    command.add_argument("--license", metavar="ID", help="as the hub calls it; that of the released model without it")
    command.add_argument("--push", metavar="NAME/REPO", help="then upload it to this repository, which is made private")
    command.add_argument("--public", action="store_true", help="with --push: the repository may be public")


def export(options: argparse.Namespace) -> None:
    """Writes the folder whole or not at all. UserError without a refit of today's decision, or for a push that cannot
    work, before anything is written."""
    from forgetfilter import pipeline
    from forgetfilter.report.card import make_card, outdated
    from forgetfilter.report.model_card import model_card
    from forgetfilter.report.stage import settings

    run = Run.open(Path(options.target))
    run.require("train-refit")
    stale = pipeline.stale(run)
    if "refit" in stale and (old := outdated(run.folder, ("refit",))):
        raise UserError(f"the refit of {run.folder} is of an earlier decision: {old['mend']}")
    pipeline.check_trained(run.folder, "export", ["train-refit"])
    if options.public and not options.push:
        raise UserError("--public says who may see what --push uploads: give --push NAME/REPO as well")
    api = _hub(options.push) if options.push else None
    model, adapter = ModelSettings.of(run.config), run.config.train.method != "full" and not options.merge
    target = _target(run.folder, options.out, "adapter" if adapter else "merged")
    base, licence = _base(model, options.base_model, options.license)
    with atomic_folder(target) as scratch:
        (_write_adapter if adapter else _write_whole)(model, run.model("refit"), scratch, base)
        card = make_card(settings(run, stale))
        write_text(scratch / "README.md", model_card(card, base, licence, adapter))
    if api:
        console.print(f"pushed: {_push(api, options.push, target, options.public)}")
    else:
        console.print(f"open {target / 'README.md'}, its card; --push NAME/REPO uploads it", soft_wrap=True)
    print(target)


def _target(folder: Path, given: Path | None, kind: str) -> Path:
    if given and given.exists():
        raise UserError(f"--out {given} is there already: name a new folder")
    target = given or folder / "export" / kind
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _base(model: ModelSettings, given: str | None, licence: str | None) -> tuple[str, str]:
    """(hub id, licence) of the released model; what is not known is said. A path never stands in a card."""
    folder = Path(model.name).expanduser()
    known = DEMO if model.name == EMBEDDED else ("", "")
    if not known[0] and folder.is_dir():
        noted = str(read_json(folder / "config.json").get("_name_or_path", ""))
        known = (noted if HUB_ID.fullmatch(noted) else "", "")
    elif not known[0]:
        known = (model.name, "")
    base = given or known[0]
    if not base:
        base = folder.resolve().name
        console.print(f"the card calls the released model {base}, for model.name is a folder: --base-model ID names it")
    asked = base if given or not folder.is_dir() else ""  # the hub is not told the name of a folder here
    licence = licence or (known[1] if base == known[0] else "") or _licence(asked, folder)
    if not licence:
        console.print("the card names no licence, since that of the released model is not known: --license ID names it")
    return base, licence


def _licence(base: str, folder: Path) -> str:
    """The licence of a model, from the card in its folder or on the hub; empty where neither tells."""
    from huggingface_hub import ModelCard

    where = folder / "README.md" if (folder / "README.md").is_file() else base
    try:
        return str(ModelCard.load(where, ignore_metadata_errors=True).data.get("license") or "") if where else ""
    except Exception:  # the hub client raises a dozen unrelated types; the card does without
        return ""


def _write_adapter(model: ModelSettings, trained: Path, target: Path, base: str) -> None:
    """The adapter with the released model's id in the place of its path here, and the tokenizer with its template."""
    target.mkdir(parents=True)
    for name in WEIGHTS:
        shutil.copyfile(trained / name, target / name)
    about = read_json(target / "adapter_config.json") | {"base_model_name_or_path": base, "revision": model.revision}
    write_json(target / "adapter_config.json", about)
    model.tokenizer().save_pretrained(target)


def _write_whole(model: ModelSettings, trained: Path, target: Path, base: str) -> None:
    """The whole model, in the type of the released one's weights."""
    import torch

    from forgetfilter.models.merged import merged

    made = merged(model, trained, as_trained=True)
    kept = read_json(model.base().path / "config.json")
    made.to(getattr(torch, str(kept.get("dtype") or kept.get("torch_dtype") or "float32")))
    made.config.use_cache = True  # it was turned off for packed rows
    made.config._name_or_path = base
    made.save_pretrained(target)
    model.tokenizer().save_pretrained(target)


def _hub(repository: str) -> Any:
    """The hub's client. UserError without a token, or for what is no name of a repository."""
    from huggingface_hub import HfApi, get_token

    if not HUB_ID.fullmatch(repository):
        raise UserError(f"--push must be NAME/REPO, got {repository!r}")
    if not (token := get_token()):
        raise UserError("--push needs a token of the hub: set HF_TOKEN, or log in with hf auth login")
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)


def _push(api: Any, repository: str, folder: Path, public: bool) -> str:
    """Uploads the folder; returns its address. UserError where the hub refuses, or where others could see it."""
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        seen = not api.model_info(repository).private
        if not seen or public:
            return str(
                api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by forgetfilter")
            )
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise UserError(f"--push {repository}: the hub refuses ({reason(error)}); {folder} is whole") from error
    raise UserError(f"--push {repository}: the repository is public: give --public, or another name; {folder} is whole")
