"""What every process of the project does with an error: one line and exit 2, 75 or, for our own bugs, a traceback."""

import atexit
import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forgetfilter.errors import EXIT_LOST, EXIT_STOPPED, EXIT_USER, Stopped, UserError, masked, printable
from forgetfilter.files import disk_trouble

OUTCOMES = "FORGETFILTER_OUTCOMES"  # folder for a rank's outcome, where its launcher loses exit codes

OUT_OF_MEMORY = (
    "the GPU's memory is full: lower train.micro_batch_tokens, data.batch_tokens or eval.generation_batch, set "
    "train.gradient_checkpointing=true, or choose a higher train.deepspeed stage, and run again with --resume"
)


def exit_code_of(work: Callable[[], Any]) -> int:
    """Runs `work` and returns the exit code; a bug of ours keeps its traceback and exits 1."""
    quiet()
    try:
        work()
    except UserError as error:
        if str(error):  # else a rank has said it
            print(f"forgetfilter: {printable(masked(' '.join(str(error).split())))}", file=sys.stderr)
        return _leave(EXIT_USER)
    except Stopped as stopped:
        print(f"forgetfilter: {stopped}", file=sys.stderr)
        return _leave(EXIT_STOPPED)
    except KeyboardInterrupt:
        print("forgetfilter: interrupted; run the same command again to go on", file=sys.stderr)
        return _leave(EXIT_STOPPED)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this alone
            print(f"forgetfilter: {OUT_OF_MEMORY}", file=sys.stderr)
            return _leave(EXIT_USER)
        if trouble := disk_trouble(error):
            print(f"forgetfilter: {trouble}; make room or set output, and run the same command again", file=sys.stderr)
            return _leave(EXIT_USER)
        if "RANK" not in os.environ:
            raise
        traceback.print_exc()
        return _leave(EXIT_LOST if _lost_a_peer(error) else 1)
    return _leave(0)


def _leave(code: int) -> int:
    """The exit code; a rank of several ends here, and does not return: not even after an error, since Python's own end
    would wait for NCCL's other ranks."""
    if "RANK" not in os.environ:
        return code
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):  # warnings go on, and its work is done
        signal.signal(number, signal.SIG_IGN)
    code = _recorded(code)
    # Not by Python's own end: it destroys the libraries' threads while they run, which now and then aborts the rank
    # (SIGABRT, "terminate called without an active exception") after all is saved.
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _recorded(code: int) -> int:
    """The exit code, left as a file for a launcher that loses it; to that a stop is a success, else it would end the
    ranks that are still saving."""
    if code not in (0, EXIT_LOST) and (folder := os.environ.get(OUTCOMES)):
        with contextlib.suppress(OSError):
            (Path(folder) / f"rank-{os.environ['RANK']}.{code}").touch()  # its name says all: a full disk takes it
        return 0 if code == EXIT_STOPPED else code
    return code


def _lost_a_peer(error: Exception) -> bool:
    """Whether another rank or its node went away: gloo says so in words, NCCL and the store by their types."""
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")
    return type(error).__name__.startswith("Dist") or any(word in str(error) for word in words)


def quiet() -> None:
    """Keeps the libraries' chatter off the terminal, unless FORGETFILTER_VERBOSE is set."""
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


quiet()  # before any library is imported, in a rank too
