import subprocess
import sys

CODE = """
from forgetfilter.process.exit_codes import exit_code_of
def work():
    raise RuntimeError("https://me:planted-password@host/v1 does not answer")
exit_code_of(work)
"""


def test_a_traceback_holds_no_password() -> None:
    # A bug of ours is told with its traceback, whose message may be a library's.
    for environment in ({}, {"RANK": "0", "WORLD_SIZE": "1"}):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and "Traceback" in done.stderr and "in work" in done.stderr
        assert "planted" not in done.stderr and "RuntimeError: https://***@host/v1 does not answer" in done.stderr
