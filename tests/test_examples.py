"""The scripts of examples/, run as they stand."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_with_a_trainer_of_ones_own(tmp_path: Path, tiny_model: Path) -> None:
    # The example goes from rows to kept rows: 30% are dropped, and the others stand in the file as they came.
    for name, start, number in (("noisy", 0, 20), ("safe", 50, 6)):
        rows = [{"prompt": f"what is {n}?", "completion": f"it is {n * 7}"} for n in range(start, start + number)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("noisy", "safe", "kept")]
    command = [sys.executable, str(ROOT / "examples" / "own_trainer.py"), str(tiny_model), *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "14 of 20 rows are kept" in done.stdout
    assert {*Path(files[2]).read_text().splitlines()} < {*Path(files[0]).read_text().splitlines()}
