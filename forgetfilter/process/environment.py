"""What other programs are given of the environment: no secret that they have no use for.

Ranks get all of it. They are the command itself: they read the configuration with its references, and speak to W&B,
the hub and the judge.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from forgetfilter.errors import secret_names

_PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


def plain_environment() -> dict[str, str]:
    """For a small program such as git: where programs and the user's settings are, and nothing else."""
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}


@contextmanager
def without_secrets(but: tuple[str, ...] = ()) -> Iterator[None]:
    """Within it, processes that a library starts inherit no secret, but those whose names begin like one of `but`."""
    hidden = {name: os.environ.pop(name) for name in secret_names() if not name.upper().startswith(but)}
    try:
        yield
    finally:
        os.environ.update(hidden)
