"""Many short steps with the loss hook, shards and checkpoints: does memory, a handle or the time of a step grow?

    python bench/soak.py [--steps 3000] [--resumes 10]

A model of 30,000 parameters is trained by the pipeline's own stage, with a checkpoint and a shard every 20 steps, and
is stopped by SIGTERM and resumed in between. A second process looks at it every second: resident memory, open
handles, and the processor's seconds, which another process's load does not change as it changes the clock's. Writes
bench/results/soak.json with the first and the last quarter of the stretch after the last resume.
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

from conftest import make_tiny_model

from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "soak.json"
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
BATCH, ROWS = 4, 80  # so an epoch has 20 steps
CONFIG = """\
name: soak
output: {folder}
cache: {folder}/cache
model: {{name: {folder}/tiny-llama, dtype: float32}}
data: {{noisy: {{a: {{path: {folder}/noisy.jsonl}}}}, safe: {{b: {{path: {folder}/safe.jsonl}}}}}}
train: {{checkpoint_steps: 20, noisy: {{epochs: {epochs}, batch_size: 4, lr: 1e-4}}}}
tracking: {{mode: disabled}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--resumes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = prepare(folder, options.steps)
        seen = [[*watched(folder, config, options.steps // (2 * options.resumes))] for _ in range(options.resumes)]
        seen.append([*watched(folder, config, None)])
        shards = len(list((folder / "soak" / "train" / "noisy" / "losses").rglob("*.parquet")))
    told = {
        "versions": versions(),
        "steps": options.steps,
        "resumes": options.resumes,
        "shards": shards,
        "last_stretch": summary(seen[-1]),
        "memory_mb_after_each_resume": [round(part[-1]["memory_mb"]) for part in seen if part],
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


def prepare(folder: Path, steps: int) -> Path:
    make_tiny_model(folder / "tiny-llama")
    row = '{{"prompt": "what is {0}?", "completion": "it is {0}"}}\n'
    (folder / "noisy.jsonl").write_text("".join(row.format(n) for n in range(ROWS)))
    (folder / "safe.jsonl").write_text("".join(row.format(n) for n in range(ROWS, ROWS + 4)))
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, epochs=steps * BATCH // ROWS))
    subprocess.run([sys.executable, "-m", "forgetfilter", "mix", str(config)], check=True, capture_output=True)
    return config


def watched(folder: Path, config: Path, steps: int | None) -> Any:
    """What is seen of a training, which is stopped after so many more steps; None: not at all."""
    metrics = folder / "soak" / "train" / "noisy" / "metrics.jsonl"
    first, stopped = last_step(metrics), False
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "forgetfilter", "train", str(config), "noisy"]
    with open(folder / "said", "a") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    while process.poll() is None:
        step = last_step(metrics)
        if step > first:
            try:
                yield {"step": step} | look(process.pid)
            except OSError:
                break
        if steps and step - first >= steps and not stopped:
            process.send_signal(signal.SIGTERM)
            stopped = True
        time.sleep(1)
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
