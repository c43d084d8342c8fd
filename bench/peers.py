"""Compares training with TRL, and scoring with lm-evaluation-harness, on the CPU with the same model, rows and cores.

    python bench/peers.py [--repeats 3] [--model smollm2-135m-instruct] [--peers FOLDER] [--tiny]

TRL and lm-eval are no dependencies of the project: `pip install --target FOLDER trl lm-eval` puts them where --peers
says. A peer that is not there is named and left out. Each trial runs in a process of its own, so that its memory can be
measured. The trials, taken in turn, are LoRA with the project's defaults in float32 and in bfloat16 (TRL pads, or packs
in a way that mixes examples), and the losses of the answers in bfloat16 (the harness has batches of 8 and of 32). The
result, bench/results/peers.json, has the tokens a second and the peak memory of each repeat, the ratio to the peer's
better way in each repeat with its spread, the largest relative difference between the losses of both, and the machine's
load. --tiny tries everything with few rows and writes nothing.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from trials import WARM, Rows, make_run, score_harness, score_ours, train_ours, train_trl

from forgetfilter.storage.run_folder import Run, versions

RESULT = Path(__file__).parent / "results" / "peers.json"
PACKED = {"packing": True, "packing_strategy": "wrapped", "max_length": 512}  # one row is about as many tokens a step
BATCH_TOKENS = 2048
DTYPES = ("bfloat16", "float32")
TRAININGS = {
    f"{who}, {dtype}": (who, dtype) for dtype in DTYPES for who in ("forgetfilter", "TRL padded", "TRL packed")
}
SCORINGS = {"forgetfilter": 0, "lm-eval, batches of 8": 8, "lm-eval, batches of 32": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="of the trainings")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--trial", nargs=2, metavar=("KIND", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    if options.trial:
        print(json.dumps(trial(*options.trial, options.model, options.tiny)))
        return
    there = {package: installed(package) for package in ("trl", "lm_eval")}
    for package in (name for name, version in there.items() if not version):
        print(f"missing: {package}, so it is left out (pip install --target FOLDER {package}, and --peers FOLDER)")
    trained = [name for name, (_, dtype) in TRAININGS.items() if dtype in options.dtypes]
    names = [("training", name) for name in trained if there["trl"] or name.startswith("forgetfilter")]
    names += [("scoring", name) for name in SCORINGS if there["lm_eval"] or name == "forgetfilter"]
    found: dict[str, list[dict[str, Any]]] = {f"{kind}: {name}": [] for kind, name in names}
    for _ in range(options.repeats):
        for kind, name in names:  # in turn, so that a slow moment of the machine hits all alike
            load = round(os.getloadavg()[0], 1)
            found[f"{kind}: {name}"].append(in_process(kind, name) | {"load": load})
            print(f"{kind}: {name}: {found[f'{kind}: {name}'][-1]}", flush=True)
        about = {"model": options.model, "threads": torch.get_num_threads(), "versions": versions() | there}
        result = summary(found) | about | {"trials": _without_losses(found)}
        if not options.tiny:
            RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["ratios"], indent=2))


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_process(kind: str, name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--trial", kind, name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind}: {name} failed:\n{done.stderr[-3000:]}")
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def trial(kind: str, name: str, model: str, tiny: bool) -> dict[str, Any]:
    steps, batch = (2, 2) if tiny else (2, 4)
    rows = Rows(batch * (steps + WARM), 40 if tiny else 200, spread=True)
    with tempfile.TemporaryDirectory() as folder:

        def run(dtype: str) -> Run:
            return make_run(Path(folder), "trial", rows, batch, [f"model.name={model}", f"model.dtype={dtype}"])

        if kind == "scoring":
            size = SCORINGS[name]
            made = (
                score_harness(run("bfloat16"), "bfloat16", size)
                if size
                else score_ours(run("bfloat16"), "bfloat16", BATCH_TOKENS)
            )
            return made
        who, dtype = TRAININGS[name]
        if who == "forgetfilter":
            return train_ours(run(dtype))
        packed = who == "TRL packed"
        return train_trl(run(dtype), 1 if packed else batch, dtype, steps, **(PACKED if packed else {}))


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Ratios of rates and of memory to the peer's better way, repeat by repeat."""
    groups = {f"training, {dtype}": (f"training: forgetfilter, {dtype}", "training: TRL", dtype)
              for dtype in DTYPES}  # fmt: skip
    groups["scoring, bfloat16"] = ("scoring: forgetfilter", "scoring: lm-eval", "")
    ratios, largest = {}, None
    for group, (ours, start, end) in groups.items():
        peers = [name for name in found if name.startswith(start) and name.endswith(end)]
        if not peers or not found.get(ours):
            continue
        each = [max((found[name][n] for name in peers), key=lambda one: one["tokens_per_s"])
                for n in range(len(found[ours]))]  # fmt: skip
        speed = [own["tokens_per_s"] / peer["tokens_per_s"] for own, peer in zip(found[ours], each)]
        memory = [own["peak_gb"] / peer["peak_gb"] for own, peer in zip(found[ours], each)]
        ratios[group] = {"speed": spread(speed), "memory": spread(memory)}
        if group.startswith("scoring"):
            own, other = found[ours][0]["losses"], found[peers[0]][0]["losses"]
            largest = round(max(abs(one - two) / max(two, 1.0) for one, two in zip(own, other)), 5)
    return {"ratios": ratios, "largest_difference_of_a_loss": largest}


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    named = {"median": statistics.median(ordered), "lowest": ordered[0], "highest": ordered[-1]}
    return {name: round(value, 2) for name, value in named.items()}


def _without_losses(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{key: value for key, value in one.items() if key != "losses"} for one in trials]
        for name, trials in found.items()
    }


if __name__ == "__main__":
    main()
