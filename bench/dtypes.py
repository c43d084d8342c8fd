"""Measures what bfloat16 costs on this CPU: one product of a small model's size in float32 and in bfloat16, on one
thread.

    python bench/dtypes.py

model.dtype=auto takes float32 where PyTorch's kernels have no native bfloat16. The result is bench/results/dtypes.json.
"""

import json
import statistics
import time
from pathlib import Path

import torch

from forgetfilter.models.numerics import compute_dtype
from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "dtypes.json"
ROWS, INNER, COLUMNS, REPEATS = 1024, 576, 1536, 20


def gflops(dtype: torch.dtype) -> float:
    """10^9 operations a second, the median of the repeats."""
    a, b = torch.randn(ROWS, INNER, dtype=dtype), torch.randn(COLUMNS, INNER, dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        a @ b.T
        seconds.append(time.perf_counter() - start)
    return 2e-9 * ROWS * INNER * COLUMNS / statistics.median(seconds)


def main() -> None:
    torch.set_num_threads(1)
    speed = {name: round(gflops(getattr(torch, name)), 1) for name in ("float32", "bfloat16")}
    ratio = round(speed["float32"] / speed["bfloat16"], 1)
    auto = compute_dtype("auto", torch.device("cpu"))
    result = {"versions": versions(), "gflops": speed, "float32_over_bfloat16": ratio, "auto": auto}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(result)


if __name__ == "__main__":
    main()
