"""Measures how long it takes before a training of many rows begins: planning its steps and a scoring, and tokenising.

    python bench/planning.py [--rows 10000000] [--tokenise 100000]

Lengths are drawn (log-normal, 8 to 1,024 tokens, 201 in the mean) and stored as the tokens of a data set are, all of
them the token 0: some 8 GB. Three epochs, steps of 16 and of 64 examples, micro-batches of 4,096 tokens. The tokens
are made from drawn chats, with the embedded model's tokenizer, by one process and by one a core; seconds are wall time
on this machine, with all that was running beside it. Writes bench/results/planning.json.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forgetfilter.data.accumulation import fewest_micro_batches, in_steps
from forgetfilter.data.batches import TrainingPlan, plan_scoring
from forgetfilter.data.records import make_records, write_records
from forgetfilter.data.token_files import Prepared
from forgetfilter.data.tokenising import CHUNK, SCHEMA, tokenised
from forgetfilter.models.loading import load_tokenizer, resolve
from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "planning.json"
MICRO, SCORED, EPOCHS = 4096, 8192, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--tokenise", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"rows": options.rows, "plan": planned(Path(folder), options.rows)}
        found["tokenise"] = tokens(Path(folder), options.tokenise)
    result = {"versions": versions(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)} | found
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def planned(folder: Path, rows: int) -> dict[str, Any]:
    """{what: seconds} from the tokens on the disk to the first micro-batch and the batches of a scoring."""
    store(folder / "data.arrow", rows)
    prepared, found = Prepared(folder / "data.arrow", "", {}), dict[str, Any]()
    lengths = timed(found, "read lengths", prepared.lengths)
    labels = timed(found, "read labels", prepared.num_labels)
    for batch_size in (16, 64):
        plan = TrainingPlan(lengths, labels, 0, EPOCHS, batch_size, MICRO, 1)
        whole = found[f"training, {batch_size} a step"] = {"steps": plan.num_steps}
        whole["micro-batches a step"] = timed(whole, "seconds", lambda plan=plan: plan.accumulation)  # type: ignore[misc]
        timed(whole, "first micro-batch, seconds", lambda plan=plan: plan.micro_batch(0, 0))  # type: ignore[misc]
    timed(found, "scoring", lambda: plan_scoring(lengths, SCORED))
    found["steps where every one is doubtful"] = hardest(rows)
    return found


def hardest(rows: int) -> float:
    """Seconds for an epoch whose every step must be tried: 16 rows of 512 to 1,024 tokens in bins of 1,600."""
    lengths = np.random.default_rng(1).integers(512, 1024, rows)
    start = time.perf_counter()
    fewest_micro_batches([in_steps(lengths, 16)], 1600, 1)
    return round(time.perf_counter() - start, 2)


def timed(into: dict[str, Any], what: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = work()
    into[what] = round(time.perf_counter() - start, 2)
    return found


def store(path: Path, rows: int) -> None:
    """A token file with rows of drawn lengths."""
    rng = np.random.default_rng(0)
    with pa.ipc.new_file(str(path), SCHEMA) as writer:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            lengths = np.clip(rng.lognormal(5, 0.8, count), 8, 1024).astype(np.int32)
            ids = pa.ListArray.from_arrays(
                np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)]), pa.array(np.zeros(int(lengths.sum()), "i4"))
            )
            names = [pa.array(np.arange(start, start + count).astype(str)), pa.array(["drawn"] * count)]
            ends = np.stack([lengths // 2, lengths], axis=1).ravel()  # the second half of each row is learned
            turns = pa.ListArray.from_arrays(np.arange(0, 2 * count + 1, 2, dtype=np.int32), pa.array(ends))
            unread = pa.array(np.zeros(count, dtype=bool))
            writer.write_batch(pa.record_batch([*names, ids, turns, unread], schema=SCHEMA))


def tokens(folder: Path, rows: int) -> dict[str, Any]:
    """Rows a second by one process, and by as many as there are cores, on the same chats."""
    tokenizer = load_tokenizer(
        resolve("smollm2-135m-instruct", None, Path("~/.cache/forgetfilter").expanduser()).path, None
    )
    data, rng = folder / "chats.jsonl", np.random.default_rng(0)
    words = np.array(
        [f"{a}{b}" for a in ("", "un", "re", "inter") for b in ("see", "hold", "view", "action", "act", "do")]
    )
    texts = (" ".join(rng.choice(words, int(n))) for n in np.clip(rng.lognormal(4, 0.8, 2 * rows), 4, 512))
    chats = ([{"role": "user", "content": q}, {"role": "assistant", "content": next(texts)}] for q in texts)
    write_records(data, make_records((chat, "drawn", None) for chat in chats))
    found: dict[str, Any] = {"rows": rows}
    for processes in (1, len(os.sched_getaffinity(0))):
        start = time.perf_counter()
        found["tokens"] = sum(counts["tokens"] for _, counts in tokenised(data, tokenizer, 1024, processes))
        found[f"rows a second, {processes} processes"] = round(rows / (time.perf_counter() - start))
    return found


if __name__ == "__main__":
    main()
