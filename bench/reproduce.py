"""The paper's claims on published data: `forgetfilter compare` for bias, toxicity and harmfulness, and a page of it.

    python bench/reproduce.py --data DATA --folder FOLDER [--name NAME] [--only KIND] [--gather] [key=value ...]

DATA holds the published files that configs/reproduce/*.yaml name. Each kind has two comparisons in FOLDER: NAME-KIND
with all defences of its config, and NAME-KIND-rounds with three rounds of four of them (left out by --no-rounds). What
is done is not done again; --gather runs nothing. The result is docs/reproduction.md, made from the cells that are done.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from forgetfilter.config.load import load_config, to_dict, written
from forgetfilter.config.schema import SourceConfig
from forgetfilter.storage.run_folder import Run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reproduction.md"
KINDS = ("bias", "toxicity", "harmfulness")
HEAD = """# The paper's claims, tried again

`make reproduce DATA=FOLDER`, which runs `bench/reproduce.py`, makes this page. The data are published subsets; where
the paper's data was not available others stand in for it (tweets for the Pile, flagged answers for HarmfulQA). The
model is far smaller than the paper's 7B. What was not measured is left out, and where an interval includes 0 nothing is
shown either way. These commands gave this page:

```bash
{commands}
```

| kind | model | noisy rows (unsafe, probes) | safe set | seeds | cells done |
| --- | --- | --- | --- | --- | --- |"""
OWN = ("name", "seed", "output", "cache", "launch", "compare", "scale", "eval.models", "eval.cue")
"""Settings that a cell has of its own, or that are no part of the outcome."""
ROUNDS = ["compare.rounds=3", "compare.defences=[none,sequential,relapse,forgetfilter]"]
Find = Callable[[str, dict[str, Any]], str]
ARROWS = {"lower": "lower is better", "higher": "higher is better", "zero": "nearer to 0 is better"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", default="reproduce")
    parser.add_argument("--only", action="append", choices=KINDS, help="a kind; may be given several times")
    parser.add_argument("--no-rounds", action="store_true")
    parser.add_argument("--gather", action="store_true")
    options, settings = parser.parse_known_args()
    for kind in options.only or KINDS:
        names = {f"{options.name}-{kind}": []} | (
            {} if options.no_rounds else {f"{options.name}-{kind}-rounds": ROUNDS}
        )
        for name, own in names.items():
            words = [*settings, *own, f"name={name}", f"output={options.folder}"]
            if not options.gather:
                compare(kind, words, options.data)
            elif value := results(options.folder / f"{name}-compare"):
                compare(kind, [*made_with(kind, value, options), *words, "--gather"], options.data)
            elif any(options.folder.glob(f"{name}-*-[0-9]*")):
                compare(kind, [*words, "--gather"], options.data)
    write(options)


def compare(kind: str, settings: list[str], data: Path) -> None:
    """One comparison; one with cells that failed is told of as it is."""
    words = [sys.executable, "-m", "forgetfilter", "compare", f"configs/reproduce/{kind}.yaml", *settings]
    done = subprocess.run(words, env=os.environ | {"DATA": str(data.resolve())}, cwd=ROOT)
    if done.returncode not in (0, 2):
        sys.exit(done.returncode)


def write(options: argparse.Namespace) -> None:
    """The page of every kind that there is, whichever of them were run this time."""
    folders = {kind: options.folder / f"{options.name}-{kind}-compare" for kind in KINDS}
    rounds = {kind: options.folder / f"{options.name}-{kind}-rounds-compare" for kind in KINDS}
    there = {kind: value for kind in KINDS if (value := results(folders[kind]))}
    if not there:
        sys.exit(f"{options.folder} has no finished cell yet")
    commands = (command(kind, value, options) for kind, value in there.items())
    lines = [
        HEAD.format(commands="\n".join(commands)),
        *(size(kind, value, options.folder) for kind, value in there.items()),
        "",
        "## Each claim, and what was found",
        "Values are those of the suite's headline metric, with 95% intervals; differences are paired by prompt.",
        "",
        *(line for claim in CLAIMS for line in told(claim, there)),
        *(line for kind in there for line in tables(f"All of {kind}", folders[kind])),
        *(line for kind in KINDS if results(rounds[kind]) for line in tables(f"Rounds of {kind}", rounds[kind])),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


def command(kind: str, value: dict[str, Any], options: argparse.Namespace) -> str:
    """What gives a kind's comparison again."""
    name = "" if options.name == "reproduce" else f" --name {options.name}"
    start = f"python bench/reproduce.py --data DATA --folder FOLDER{name} --only {kind}"
    words = (word.replace(f"{options.data.resolve()}/", "DATA/") for word in made_with(kind, value, options))
    return " \\\n    ".join([start, *map(shlex.quote, words)])


def made_with(kind: str, value: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """The settings of a comparison's cells, by the first of them, where these are not those of its config."""
    os.environ["DATA"] = str(options.data.resolve())
    config = load_config(ROOT / "configs" / "reproduce" / f"{kind}.yaml")
    cell = Run.open(options.folder / value["cells"][0]["run"]).config
    known, found = flat(to_dict(config)), flat(to_dict(cell))
    for key in found.keys() - known.keys():  # of prompts that the config does not have, what a source is by itself
        known[key] = getattr(SourceConfig(), key.rpartition(".")[2], None)
    changed = {key: found[key] for key in found if found[key] != known.get(key) and not key.startswith(OWN)}
    grid = {"seeds": sorted({one["seed"] for one in value["cells"]}), "defences": in_order(value)}
    assert config.compare
    changed |= {f"compare.{key}": made for key, made in grid.items() if made != getattr(config.compare, key)}
    return [word for key, one in changed.items() for word in shlex.split(written(key, one))]


def in_order(value: dict[str, Any]) -> list[str]:
    """The defences as the comparison was asked for them."""
    return list(dict.fromkeys(cell["defence"] for cell in value["cells"]))


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{A.B.C: value} of nested sections."""
    found: dict[str, Any] = {}
    for key, one in value.items():
        found |= flat(one, f"{prefix}{key}.") if isinstance(one, dict) else {f"{prefix}{key}": one}
    return found


def results(folder: Path) -> dict[str, Any] | None:
    """What a comparison came to; None without one, or where no cell is done."""
    file = folder / "compare.json"
    value = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return value if value and value["points"] else None


def size(kind: str, value: dict[str, Any], folder: Path) -> str:
    """What was run, from the first cell's own files."""
    run = folder / value["cells"][0]["run"]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    made, mixture = json.loads((run / "data" / "summary.json").read_text(encoding="utf-8")), config["mixture"]
    unsafe = sum(labels.get("unsafe", 0) for labels in made["noisy"]["by_source"].values())
    seeds = sorted({cell["seed"] for cell in value["cells"]})
    counts = f"{made['noisy']['rows']} ({unsafe}, {mixture['probes']})", str(made["safe"]["rows"])
    done = f"{value['done']} of {value['members']}"
    return f"| {kind} | {config['model']['name']} | {' | '.join(counts)} | {', '.join(map(str, seeds))} | {done} |"


def told(claim: tuple[str, Find], there: dict[str, dict[str, Any]]) -> list[str]:
    """A claim and what each kind says of it; nothing where no kind does."""
    words, find = claim
    found = [(kind, find(kind, rows(value))) for kind, value in there.items()]
    lines = [f"- {kind}: {text}" for kind, text in found if text]
    return [f"**{words}**", *lines, ""] if lines else []


def rows(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["defence"]: row for row in value["points"][0]["rows"]}


def headline(row: dict[str, Any] | None, suite: str) -> dict[str, Any] | None:
    metrics = row["metrics"].get(suite, {}) if row else {}
    found = (one | {"metric": name} for name, one in metrics.items() if one["headline"] and one["value"] is not None)
    return next(found, None)


def shown(one: dict[str, Any]) -> str:
    return f"{one['value']:.3f} ({one['low']:.2f} to {one['high']:.2f})"


def to_none(one: dict[str, Any]) -> str:
    """The paired difference to no defence; empty for that itself."""
    found = one.get("to_none")
    if not found:
        return ""
    return f", {found['value']:+.3f} ({found['low']:+.2f} to {found['high']:+.2f}) to none: {found['verdict']}"


def learned(kind: str, own: dict[str, Any]) -> str:
    before, after = headline(own.get("released"), kind), headline(own.get("none"), kind)
    if not (before and after):
        return ""
    return f"{after['metric']} ({ARROWS[after['better']]}) {shown(before)} before, {shown(after)} after"


def forgotten(kind: str, own: dict[str, Any]) -> str:
    row = own.get("forgetfilter")
    if not row or row["auroc"] is None:
        return ""
    lost, left = (f"{100 * row[key]:.0f}%" for key in ("good_lost", "unsafe_left"))
    return f"unsafe rows are found with AUROC {row['auroc']:.3f}; {left} of them stay, {lost} of the good ones go"


def against(defence: str, other: str) -> Find:
    def find(kind: str, own: dict[str, Any]) -> str:
        one, two = headline(own.get(defence), kind), headline(own.get(other), kind)
        if not (one and two):
            return ""
        change = f" ({100 * (one['value'] / two['value'] - 1):+.0f}%)" if two["value"] else ""
        return f"{one['metric']} {shown(one)} where {other} has {shown(two)}{change}{to_none(one)}"

    return find


def task(*names: str) -> Find:
    def find(kind: str, own: dict[str, Any]) -> str:
        known = {name: one for name in names if (one := headline(own.get(name), "task"))}
        parts = [f"{name} {shown(one)}{to_none(one)}" for name, one in known.items()]
        metric = next((one["metric"] for one in known.values()), "")
        return f"{metric}: {'; '.join(parts)}" if len(parts) > 1 else ""

    return find


CLAIMS = (
    ("A model that is finetuned on noisy data learns the unsafe part of it.", learned),
    ("Finetuned on safe data afterwards, it forgets the unsafe rows most.", forgotten),
    ("ForgetFilter is safer than no defence (the paper: toxicity 75% lower).", against("forgetfilter", "none")),
    (
        "ForgetFilter is safer than self-correction (the paper: toxicity 62% lower).",
        against("forgetfilter", "self_correction"),
    ),
    ("Sequential safety finetuning is safe too.", against("sequential", "none")),
    (
        "Sequential safety finetuning loses the task, ForgetFilter does not.",
        task("none", "sequential", "sequential_no_tasks", "forgetfilter"),
    ),
    ("Replay does not keep the model safe.", against("replay", "none")),
    ("A random filter of the same size is no help.", against("random_filter", "none")),
    ("The ceiling: all unsafe rows dropped, by their labels.", against("oracle", "none")),
)


def tables(title: str, folder: Path) -> list[str]:
    """The tables of compare.md, one level lower."""
    lines = (folder / "compare.md").read_text(encoding="utf-8").splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("## ")), len(lines))
    return [f"## {title}", *(f"#{line}" if line.startswith("## ") else line for line in lines[start:]), ""]


if __name__ == "__main__":
    main()
