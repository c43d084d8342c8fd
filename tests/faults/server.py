"""Forks a process for each command, so that none waits ten seconds for torch: `python server.py FOLDER`.

Reads requests as lines of JSON, and answers each with a line: {"start": ARGV, "fault": FAULT, "said": FILE} with the
process's id, {"wait": ID} with its exit code (null where it did not end in time, and was killed). A process leads a
group of its own. Nothing of torch or Polars runs here, since their threads would not live in the forks.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

PATIENCE = 600  # seconds, after which a command counts as one that never ends


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    _import()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        found = _wait(request["wait"]) if "wait" in request else _start(**request)
        print(json.dumps(found), file=answers, flush=True)


def _import() -> None:
    import peft
    import sklearn
    import transformers.models.llama.modeling_llama
    from forgetfilter.eval import __main__ as evaluation
    from forgetfilter.train import __main__ as training

    from forgetfilter import cli, pipeline
    from forgetfilter.score import __main__ as scoring

    del peft, sklearn, transformers, evaluation, training, scoring, cli, pipeline


def _start(start: list[str], fault: dict[str, Any] | None, said: str) -> int:
    if process := os.fork():
        return process
    code = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        code = _command(start, fault)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(argv: list[str], fault: dict[str, Any] | None) -> int:
    from faults import injected

    from forgetfilter import cli

    if fault:
        injected.install(**fault)
    try:
        cli.main(argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 1


def _wait(process: int) -> int | None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
