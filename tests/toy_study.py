"""What the tests of studies share."""

from typing import Any

import pytest

from forgetfilter import cli


def call(*words: Any) -> int:
    """The command line's exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert isinstance(end.value.code, int)
    return end.value.code
