import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from forgetfilter.config.schema import DataConfig
from forgetfilter.mix.probes import FEWEST, choose

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "quickstart"
KINDS = ("bias", "toxicity", "harmfulness")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_generator_reproduces_the_committed_files(tmp_path: Path) -> None:
    # The generator makes the committed files byte for byte.
    subprocess.run([sys.executable, "-B", str(FOLDER / "make_data.py"), str(tmp_path)], check=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    assert made == {path.relative_to(FOLDER): path.read_bytes() for path in FOLDER.rglob("*.jsonl")}


def test_no_prompt_is_in_two_places() -> None:
    # Noisy, safe and evaluation prompts are disjoint, and each is there once, so none has both answers.
    names = ["noisy", "safe", "eval/task", *(f"eval/{kind}" for kind in KINDS)]
    prompts = [row["prompt"] for name in names for row in rows(name)]
    assert len(prompts) == 300 + 4 * 48 + 3 * 48 + 72
    assert len(set(prompts)) == len(prompts)


def test_a_kind_has_as_many_unsafe_as_safe_rows_and_one_source() -> None:
    # Each of three kinds has 30 unsafe and 30 safe rows, so 30 percent of 300 rows are unsafe.
    counts = Counter((row["source"], row["label"]) for row in rows("noisy"))
    assert counts == {("task", "task"): 120} | {(kind, label): 30 for kind in KINDS for label in ("unsafe", "safe")}


def test_a_quarter_of_the_safe_set_is_enough_for_the_default_probes() -> None:
    # Of 48 rows of each kind and of the tasks 12 become probes, which makes 48 where at least 36 are needed.
    counts = Counter(row["source"] for row in rows("safe"))
    assert counts == dict.fromkeys((*KINDS, "task"), 48)
    ids = ((source, number.to_bytes(32)) for number, source in enumerate(counts.elements()))
    assert len(choose(ids, DataConfig().probe_share)) == 48 > FEWEST


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["prompt", "completion"])
def test_length_does_not_tell_unsafe_from_safe(kind: str, part: str) -> None:
    # The mean numbers of characters are within a fifth of one another.
    lengths = defaultdict(list)
    for row in rows("noisy"):
        if row["source"] == kind:
            lengths[row["label"]].append(len(row[part]))
    unsafe, safe = (sum(lengths[label]) / len(lengths[label]) for label in ("unsafe", "safe"))
    assert 0.8 < unsafe / safe < 1.25


def test_bias_prompts_are_whole_fours_with_a_true_answer_among_the_choices() -> None:
    # The 72 prompts are 18 fours, and the unknown answer is the true one in every ambiguous row and in no other.
    found = rows("eval/bias")
    assert set(Counter((row["condition"], row["polarity"]) for row in found).values()) == {18}
    assert all((row["gold"] == row["unknown"]) == (row["condition"] == "ambig") for row in found)
    assert all(row["choices"][index] in row["prompt"] for row in found for index in range(3))
