"""Many short steps with the loss hook, shards and checkpoints: does memory, a handle or the time of a step grow?

    python bench/soak.py [--steps 10000] [--resumes 50] [--shards 1024]

The noisy training of a pipeline with a model of 30,000 parameters has so many steps, with a checkpoint and a shard
every 20 steps. It is stopped by SIGTERM and resumed in between. A second process looks at it five times a second:
resident memory, open handles, and the processor's seconds, which another process's load does not change as it changes
the clock's. Before that, shards of 64 simulated ranks are merged again and again in one process. Writes
bench/results/soak.json with the first and the last quarter of the stretch after the last resume, of the resumes, and of
the merges. The full one takes some 45 minutes on two busy cores.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pyarrow as pa
from conftest import make_tiny_model
from faults.toy import write_inputs

from forgetfilter.storage.run_folder import versions
from forgetfilter.storage.shards import LOSS_SCHEMA, merged, shard_path, write_shard

RESULT = Path(__file__).parent / "results" / "soak.json"
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
STEPS_AN_EPOCH = 4  # of the toy's 16 rows
RANKS, SHARD_ROWS, MERGES = 64, 50, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--resumes", type=int, default=50)
    parser.add_argument("--shards", type=int, default=1024, help="of 64 simulated ranks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        merges = merged_again(folder / "shards", options.shards)
        command = prepare(folder, options.steps)
        seen = [[*watched(folder, command, options.steps // (2 * options.resumes))] for _ in range(options.resumes)]
        seen.append([*watched(folder, command, None)])
        shards = len(list((folder / "runs" / "toy" / "train" / "noisy" / "losses").rglob("*.parquet")))
        stages = json.loads((folder / "runs" / "toy" / "state.json").read_text())
        assert stages["train-noisy"]["status"] == "done"
    told = {
        "versions": versions(),
        "steps": options.steps,
        "resumes": options.resumes,
        "shards": shards,
        "last_stretch": summary(seen[-1]),
        "after_each_start": after_each_start([part for part in seen if part]),
        "merges": {"shards": options.shards, "ranks": RANKS} | merges,
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


def after_each_start(seen: list[list[dict[str, float]]]) -> dict[str, list[float]]:
    """One number for each process, at the middle one of its readings or, for the seconds, at the first one."""
    middle = [part[len(part) // 2] for part in seen]
    return {
        "memory_mb": [round(one["memory_mb"], 1) for one in middle],
        "handles": [one["handles"] for one in middle],
        "processor_s_up_to_the_first_step": [round(part[0]["seconds"], 1) for part in seen],
    }


def merged_again(folder: Path, shards: int) -> dict[str, Any]:
    """Merges the shards of many ranks again and again; the first merges warm up."""
    ids = []
    for number in range(shards):
        own = [f"{number:08d}-{row:08d}" for row in range(SHARD_ROWS)]
        columns = [own, ["web"] * SHARD_ROWS, *([[value] * SHARD_ROWS for value in (9, 1.5, number % RANKS, 1, 0)])]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, LOSS_SCHEMA, strict=True)], schema=LOSS_SCHEMA)
        write_shard(shard_path(folder, number % RANKS, number // RANKS), table)
        ids += own
    seen = []
    for _ in range(MERGES):
        assert len(merged(folder, ids)) == len(ids)
        seen.append(look(os.getpid()))
    first, last = seen[MERGES // 4 : MERGES // 2], seen[-MERGES // 4 :]
    return {
        "merges": MERGES,
        "processor_s_a_merge": [
            round((part[-1]["seconds"] - part[0]["seconds"]) / (len(part) - 1), 3) for part in (first, last)
        ],
        "memory_mb": [round(part[-1]["memory_mb"], 1) for part in (first, last)],
        "handles": [part[-1]["handles"] for part in (first, last)],
    }


def prepare(folder: Path, steps: int) -> list[str]:
    """The command of the noisy training, whose data is mixed."""
    config = str(write_inputs(folder, make_tiny_model(folder / "tiny-llama")))
    own = ["train.checkpoint_steps=20", "train.noisy.lr=1e-4", f"train.noisy.epochs={steps // STEPS_AN_EPOCH}"]
    start = [sys.executable, "-m", "forgetfilter"]
    subprocess.run([*start, "mix", config, *own], check=True, capture_output=True)
    return [*start, "train", config, "noisy", *own]


def watched(folder: Path, command: list[str], steps: int | None) -> Any:
    """What is seen of the noisy training, which is stopped after so many more steps; None: not at all."""
    metrics = folder / "runs" / "toy" / "train" / "noisy" / "metrics.jsonl"
    first, stopped = last_step(metrics), False
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with open(folder / "said", "a") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    while process.poll() is None:
        step = last_step(metrics)
        if step > first:
            try:
                seen = look(process.pid)
            except OSError:
                break
            if seen["memory_mb"]:  # none once it has ended
                yield {"step": step} | seen
        if steps and step - first >= steps and not stopped:
            process.send_signal(signal.SIGTERM)
            stopped = True
        time.sleep(0.2)
    assert process.wait() in (0, 75), (folder / "said").read_text()[-3000:]


def last_step(metrics: Path) -> int:
    lines = metrics.read_bytes().splitlines() if metrics.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def look(process: int) -> dict[str, float]:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return {
        "seconds": (int(fields[11]) + int(fields[12])) / TICKS,
        "memory_mb": int(fields[21]) * PAGE / 1e6,
        "handles": len(list(Path(f"/proc/{process}/fd").iterdir())),
    }


def summary(seen: list[dict[str, float]]) -> dict[str, Any]:
    """The first and the last quarter of a stretch, without its beginning, which warms up, and its end, which saves."""
    steps = {one["step"]: one for one in reversed(seen)}  # as each step is seen first
    stretch = [steps[step] for step in sorted(steps)][2:-1]
    quarter = max(2, len(stretch) // 4)
    first, last = stretch[:quarter], stretch[-quarter:]

    def milliseconds(part: list[dict[str, float]]) -> float:
        return round(1000 * (part[-1]["seconds"] - part[0]["seconds"]) / max(1, part[-1]["step"] - part[0]["step"]), 2)

    return {
        "steps": [first[0]["step"], last[-1]["step"]],
        "processor_ms_a_step": [milliseconds(first), milliseconds(last)],
        "memory_mb": [round(part[-1]["memory_mb"], 1) for part in (first, last)],
        "handles": [part[-1]["handles"] for part in (first, last)],
    }


if __name__ == "__main__":
    main()
