"""Runs pairs of gloo ranks of torch alone, which train and then end by Python's own end or by os._exit.

    python bench/rank_end.py [--repeats 60]

It counts the pairs of which a rank was aborted (SIGABRT, "terminate called without an active exception") after all its
work. forgetfilter/process/exit_codes.py uses os._exit. Such aborts are rare on an idle machine, so load both cores. The
result is bench/results/rank_end.json.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "rank_end.json"
ENDS = ("python", "at once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    repeats = parser.parse_args().repeats
    aborted = dict.fromkeys(ENDS, 0)
    for _ in range(repeats):
        for end in ENDS:
            aborted[end] += any(pair(end))
    RESULT.write_text(json.dumps({"versions": versions(), "pairs": repeats, "aborted": aborted}, indent=1) + "\n")
    print(aborted)


def pair(end: str) -> list[int]:
    """The exit codes of two ranks that end so."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "OMP_NUM_THREADS": "1"}
    given |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "RANK_END": end}
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen(command, env=os.environ | given | {"RANK": str(rank)}) for rank in range(2)]
    return [rank.wait() for rank in ranks]


def work() -> None:
    dist.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
    for _ in range(5):
        model(torch.randn(4, 8)).sum().backward()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    if "RANK_END" not in os.environ:
        main()
    else:
        work()
        if os.environ["RANK_END"] != ENDS[0]:
            os._exit(0)
