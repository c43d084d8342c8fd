"""forgetfilter init FILE...: looks at the data, and writes a commented configuration that runs."""

import argparse
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from forgetfilter.cli.draft import FEW_SAFE, Draft, to_yaml, told
from forgetfilter.cli.parser import Commands
from forgetfilter.cli.shipped import shipped
from forgetfilter.config.load import load_config
from forgetfilter.config.schema import ROLES, EvalConfig, ModelConfig, SourceConfig
from forgetfilter.data.row_files import suffix
from forgetfilter.data.survey import Survey, estimated_tokens, survey
from forgetfilter.errors import UserError, printable
from forgetfilter.files import atomic_path, write_text

PROBES, FEWEST = 100, 40  # rows that are proposed; fewer than these are not worth the hand's work
SEED = 0


def add(commands: Commands) -> None:
    """The command's place in the command line."""
    words = "look at the data, and write a commented config with all that a first run needs"
    command = commands.add_parser("init", help=words, description=f"{words}; nothing that exists is overwritten")
    command.set_defaults(work=init)
    sources = "a JSONL, JSON, CSV, TSV or Parquet file, a folder or glob of them, or a hub data set"
    command.add_argument("files", nargs="+", metavar="FILE", help=f"the data that may hold unsafe rows: {sources}")
    command.add_argument("--safe", action="append", default=[], metavar="FILE", help=FEW_SAFE)
    command.add_argument("--probes", action="append", default=[], metavar="FILE", help="good rows, checked by hand")
    words = "a role in the files that has another name than the usual ones: --role agent=assistant"
    command.add_argument("--role", action="append", default=[], metavar="THEIRS=ROLE", help=words)
    command.add_argument("--model", default="", metavar="NAME", help="hub id, local folder, or the embedded demo model")
    command.add_argument("--name", metavar="NAME", help="of the config and the run; that of the first FILE without one")


def init(options: argparse.Namespace) -> None:
    """Writes NAME.yaml and NAME-data/. UserError before anything is written where one of them is there already."""
    name = _plain(options.name) if options.name else plain_name(options.files[0])
    count = _counter(options.model)
    roles = _roles(options.role)
    surveys, trusted, checked = (looked(given, count, roles) for given in (options.files, options.safe, options.probes))
    safe, probes = ({key: found.source for key, found in given.items()} for given in (trusted, checked))
    folder, config = Path(f"{name}-data"), Path(f"{name}.yaml")
    made_up = {suite: folder / "prompts" / f"{suite}.jsonl" for suite in EvalConfig().suites}
    made_up |= {} if safe else {"safe": folder / "safe.jsonl"}
    rows = [] if probes else _probes(surveys)
    proposed = folder / "probes_to_check.jsonl" if rows else None
    for path in (config, *made_up.values(), *filter(None, [proposed])):
        if path.exists():
            raise UserError(f"{path} is there already, and is not overwritten: give --name NEW, or move it away")
    for what, path in made_up.items():
        _copy(shipped(f"configs/quickstart/{'safe' if what == 'safe' else f'eval/{what}'}.jsonl"), path)
    if proposed:
        write_text(proposed, "".join(f"{line}\n" for line in rows))
    draft = Draft(name, options.model, surveys, safe, probes, made_up, proposed, len(rows))
    write_text(config, to_yaml(draft, ModelConfig().name))
    load_config(config)
    _say(draft, config)


def _say(draft: Draft, config: Path) -> None:
    """What was found, what is missing for what, and what to do next; the last line is the config."""
    for name, found in draft.noisy.items():
        print(*[printable(f"{name}: {line}") for line in told(found)], sep="\n")
    lacking = {
        "a safe set of your own (--safe FILE), for a filter that can be trusted": not draft.safe,
        f"probes, for a bound on its error: check {draft.proposed or 'some rows by hand'}": not draft.probes,
        f"a model of your own (--model NAME); {ModelConfig().name} shows that all works": not draft.model,
        "prompts of your own or of a published benchmark (eval.data), for a verdict that counts": True,
    }
    print(*[f"missing: {what}" for what, lacks in lacking.items() if lacks], sep="\n")
    print(f"next: read {config}, then forgetfilter run {config}", config, sep="\n")


def _roles(given: list[str]) -> dict[str, str]:
    """{role in the files: role}; UserError for what is neither."""
    roles = dict(word.split("=", 1) for word in given if "=" in word)
    if wrong := [word for word in given if word.partition("=")[2] not in ROLES]:
        raise UserError(f"--role must be THEIRS=ROLE with a ROLE among {', '.join(ROLES)}, got {wrong[0]!r}")
    return roles


def looked(paths: Iterable[str], count: Callable[[str], int], roles: Mapping[str, str]) -> dict[str, Survey]:
    """{name of a source: what is in it}, named after the files; a name that is taken gets a number."""
    surveys: dict[str, Survey] = {}
    for path in paths:
        name = wanted = plain_name(path)
        number = 1
        while name in surveys:
            number += 1
            name = f"{wanted}-{number}"
        surveys[name] = survey(SourceConfig(path, roles=dict(roles)), "FILE", count)
    return surveys


def plain_name(path: str) -> str:
    """What a source is called after its file or folder."""
    file = Path(path)
    return _plain(file.name.removesuffix(".gz").removesuffix(suffix(file)) or file.resolve().name)


def _plain(text: str) -> str:
    """A name that every command and file system takes."""
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:60] or "data"


def _probes(surveys: Mapping[str, Survey]) -> list[str]:
    """Lines of rows drawn at random, of each source alike; none where there would be too few to be of use."""
    share = PROBES // len(surveys)
    drawn = [rows for found in surveys.values() for rows in found.drawn(min(share, len(found.distinct) // 3), SEED)]
    return [json.dumps({"messages": rows}, ensure_ascii=False) for rows in drawn] if len(drawn) >= FEWEST else []


def _counter(model: str) -> Callable[[str], int]:
    """The model's own tokenizer where it is at hand without the hub, and else an estimate."""
    file = Path(model or "none").expanduser() / "tokenizer.json"
    if not file.is_file() or importlib.util.find_spec("tokenizers") is None:
        return estimated_tokens
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())
