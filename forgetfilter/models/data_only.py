"""Has torch load data alone, also where a library asks for a whole pickle, which may run any code."""

import importlib
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from forgetfilter.errors import UserError, printable, reason

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own word, which wins over the library's weights_only=False


@contextmanager
def data_only(known: Sequence[str] = (), whose: str = "") -> Iterator[None]:
    """Within it torch makes tensors, plain values, and the classes `known` as MODULE:NAME, and nothing else.

    UserError where a file holds another class; `whose` names the files for it. Without `whose` torch's own error comes
    through.
    """
    import torch

    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        with torch.serialization.safe_globals([_found(name) for name in known]):
            yield
    except pickle.UnpicklingError as error:
        if not whose:
            raise
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = printable(named[1])[:200] if named else reason(error)
        raise UserError(f"{whose} holds more than data, and was not read: {what}") from error
    finally:
        os.environ.pop(_FORCED)
        if before is not None:
            os.environ[_FORCED] = before


def _found(name: str) -> type:
    module, _, attribute = name.partition(":")
    found: type = getattr(importlib.import_module(module), attribute)
    return found
