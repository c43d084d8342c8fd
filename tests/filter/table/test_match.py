from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgetfilter.filter.table import sorting as module
from forgetfilter.filter.table.match import match
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetfilter.data.line_blocks import lines

keys = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40, unique=True)


@given(values=keys, shuffle=st.randoms())
@settings(max_examples=30, deadline=None)
def test_a_permutation_is_found(values: list[int], shuffle: Any) -> None:
    # The keys that are found, in the order that match gives, are the expected keys, however many parts they are sorted
    # in.
    expected = np.array(values, dtype=np.uint64)
    found = np.array(shuffle.sample(values, len(values)), dtype=np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", 3)
        out = match(expected, found)
    assert (found[out.order] == expected).all()
    assert not any(len(rows) for rows in (out.missing, out.foreign, out.repeated, out.ambiguous))


def test_what_does_not_match_by_hand() -> None:
    # 5 is missing, 9 is foreign, 7 is found twice and 3 is expected twice, and match tells each of them.
    expected, found = (np.array(values, dtype=np.uint64) for values in ([3, 5, 7, 3], [7, 9, 3, 7]))
    out = match(expected, found)
    assert out.missing.tolist() == [1] and out.foreign.tolist() == [1]
    assert sorted(out.repeated.tolist()) == [0, 3] and sorted(out.ambiguous.tolist()) == [0, 3]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_of_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    # Blocks of any size hold whole lines; blank lines are left out, and the last line needs no end.
    (tmp_path / "x").write_bytes("{a}\n\n  \r\n{größe\u2028}\r\n{c}".encode())
    monkeypatch.setattr("forgetfilter.data.line_blocks.BLOCK", block)
    read = [(bytes(values), lengths.tolist()) for values, lengths in lines(tmp_path / "x")]
    assert b"".join(values for values, _ in read) == "{a}\n{größe\u2028}\r\n{c}".encode()
    assert [n for _, lengths in read for n in lengths] == [4, 14, 3]
