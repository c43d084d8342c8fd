"""What a shell completes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from toy_study import call

pytest.importorskip("shtab")

ASK = """
source "$1"
complete -p forgetfilter > /dev/null || exit 3
ask() {
    COMP_WORDS=(forgetfilter "$@"); COMP_CWORD=$#; COMPREPLY=()
    _shtab_forgetfilter forgetfilter "${@: -1}" forgetfilter
    echo "${COMPREPLY[@]}"
}
cd "$2"
ask co
ask filter --s
ask run mi
"""


def test_bash_completes_commands_options_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A real bash takes the script, which knows every command, the options of each, and where a file stands.
    assert call("completion", "bash") == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "mine.yaml").touch()
    done = subprocess.run(
        ["bash", "-c", ASK, "ask", tmp_path / "script", tmp_path], capture_output=True, text=True, check=True
    )
    first, second, third = (set(line.split()) for line in done.stdout.splitlines())
    assert first == {"compare", "config", "completion"} and second == {"--sweep", "--safe"} and third == {"mine.yaml"}
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_theirs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    # It names the commands; where the shell is on the machine, the shell itself reads it.
    assert call("completion", shell) == 0
    script = capsys.readouterr().out
    assert "forgetfilter" in script and "doctor" in script and "--sweep" in script.replace("-l ", "--")
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_a_shell_that_is_not_known_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    # The line names those that are.
    assert call("completion", "tcsh") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bash" in error and "zsh" in error and "fish" in error
