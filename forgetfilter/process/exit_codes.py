"""How every process of the project ends: one line and exit code 2 or 75, or a traceback and 1 for our own bugs."""

import atexit
import contextlib
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from forgetfilter.errors import EXIT_LOST, EXIT_STOPPED, EXIT_USER, EXIT_WAITED, Stopped, UserError, masked, printable
from forgetfilter.files import disk_trouble, path_trouble

ASIDE = "FORGETFILTER_ASIDE"  # the descriptor of a file for what a rank says of a lost peer
OUTCOMES = "FORGETFILTER_OUTCOMES"  # names a folder for the outcome of each rank, where the launcher loses exit codes

OUT_OF_MEMORY = (
    "the GPU's memory is full: lower train.micro_batch_tokens, data.batch_tokens or eval.generation_batch, set "
    "train.gradient_checkpointing=true, or choose a higher train.deepspeed stage, and run again with --resume"
)


FURTHER = (  # modules of the extra `train`, without which the light core was installed
    "accelerate", "bitsandbytes", "datasets", "deepspeed", "gguf", "huggingface_hub", "peft", "profanity_check",
    "rouge_score", "safetensors", "tokenizers", "torch", "transformers", "wandb",
)  # fmt: skip


def exit_code_of(work: Callable[[], Any]) -> int:
    """Runs `work` and returns the exit code; a bug of ours keeps its traceback and exits 1."""
    quiet()
    try:
        work()
    except UserError as error:
        if str(error):  # an empty error was already printed by a rank
            _say(" ".join(str(error).split()))
        return _leave(EXIT_USER)
    except Stopped as stopped:
        _say(str(stopped))
        return _leave(EXIT_STOPPED)
    except KeyboardInterrupt:
        _say("interrupted; run the same command again to go on")
        return _leave(EXIT_STOPPED)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (lacking := str(error.name).partition(".")[0]) in FURTHER:
            _say(f"{lacking} is not installed: pip install 'forgetfilter[all]'")
            return _leave(EXIT_USER)
        if type(error).__name__ == "OutOfMemoryError":  # by its name, so that torch is not imported for this alone
            _say(OUT_OF_MEMORY)
            return _leave(EXIT_USER)
        if trouble := disk_trouble(error) or path_trouble(error):
            _say(trouble)
            return _leave(EXIT_USER)
        if "RANK" not in os.environ:
            sys.excepthook = _show
            raise
        if _lost_a_peer(error) and re.search("timed out|timeout", str(error), re.IGNORECASE):
            return _leave(EXIT_WAITED)  # the process that started the ranks says so
        if not _lost_a_peer(error):
            _show(type(error), error, error.__traceback__)
            return _leave(1)
        with _aside() as file:  # told only where no rank has a fault of its own
            _show(type(error), error, error.__traceback__, file)
        return _leave(EXIT_LOST)
    return _leave(0)


def _say(line: str) -> None:
    """The one line of a refusal or a stop, in which no secret stands and nothing steers the terminal."""
    print(f"forgetfilter: {printable(masked(line))}", file=sys.stderr)


def _show(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, file: TextIO | None = None
) -> None:
    """Prints a traceback without the secrets that may stand in it, on stderr or into the file."""
    print(masked("".join(traceback.format_exception(kind, error, trace))), end="", file=file or sys.stderr)


def _aside() -> AbstractContextManager[TextIO]:
    """Where a rank writes what it says of a lost peer, whose own end the process that started the ranks will tell."""
    given = os.environ.get(ASIDE)
    return open(int(given), "w", errors="backslashreplace") if given else contextlib.nullcontext(sys.stderr)


def _leave(code: int) -> int:
    """Returns the exit code, or ends the process with it if this is one of several ranks.

    A rank ends here even after an error, because Python's own end would wait for NCCL's other ranks.
    """
    if "RANK" not in os.environ:
        return code
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):  # more warnings may come, but the work is done
        signal.signal(number, signal.SIG_IGN)
    code = _recorded(code)
    # Python's own end destroys the libraries' threads while they run, which now and then aborts the rank (SIGABRT,
    # "terminate called without an active exception") after everything is saved.
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _recorded(code: int) -> int:
    """Leaves the exit code as a file if the launcher loses exit codes, and returns the code for the launcher.

    To such a launcher a stop is a success; otherwise it would end the ranks that are still saving.
    """
    if code not in (0, EXIT_LOST, EXIT_WAITED) and (folder := os.environ.get(OUTCOMES)):
        with contextlib.suppress(OSError):
            (Path(folder) / f"rank-{os.environ['RANK']}.{code}").touch()  # an empty file, which fits on a full disk
        return 0 if code == EXIT_STOPPED else code
    return code


def _lost_a_peer(error: Exception) -> bool:
    """Whether another rank or its node was lost: gloo's errors say so in words, those of NCCL and the store by type."""
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")
    return type(error).__name__.startswith("Dist") or any(word in str(error) for word in words)


def quiet() -> None:
    """Keeps the messages of the libraries off the terminal, unless FORGETFILTER_VERBOSE is set."""
    if os.environ.get("FORGETFILTER_VERBOSE"):
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    for name in ("DeepSpeed", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|deepspeed|peft|bitsandbytes)")


quiet()  # must run before any library is imported, in a rank too
