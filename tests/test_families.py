"""A few families of bench/families.py, which tries all of them: those in which most is unlike Llama."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

from families import try_family
from family_models import FAMILIES

CASES = [
    ("Gemma 2, base", "full", "ok"),  # BOS and no template, caps in attention and output
    ("Llama 2", "lora", "ok"),  # a blank before each answer
    ("GPT-2", "qlora", "ok"),  # learned positions, one matrix for queries, keys and values
    ("Bloom", "lora", "ok, without packing"),  # no positions that packing could begin anew
]


@pytest.mark.parametrize(("name", "method", "outcome"), CASES)
def test_a_family_goes_through_every_stage(name: str, method: str, outcome: str) -> None:
    # What the run wrote is what transformers and peft alone make of its files: see docs/families.md.
    assert try_family(FAMILIES[name], method) == outcome
