import multiprocessing
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from forgetfilter.errors import masked
from forgetfilter.process.environment import without_secrets
from forgetfilter.storage.run_folder import versions

SECRETS = {"HF_TOKEN": "hf_0123456789", "my_judge_key": "sk-0123456789", "https_proxy": "http://me:word@127.0.0.1:9"}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def test_processes_of_a_library_inherit_no_secret() -> None:
    # Neither the commands that it starts nor the processes of multiprocessing have the secrets, and afterwards they are
    # there again.
    before = dict(os.environ)
    with without_secrets(), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        said = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
        inherited = [*pool.map(os.getenv, [*SECRETS, "PATH"])]
    assert not any(value in said for value in SECRETS.values()) and "PATH=" in said
    assert inherited == [None, None, None, os.environ["PATH"]]
    assert dict(os.environ) == before


def test_what_a_library_needs_stays() -> None:
    # W&B's own process gets the proxy, whatever the case of its name, but no token of the hub.
    with without_secrets(but=("WANDB", "HTTPS_PROXY")):
        assert "https_proxy" in os.environ and "HF_TOKEN" not in os.environ


def test_a_message_shows_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # A short value may be any word, and a path is no secret. Where one value begins like another, nothing is left over.
    monkeypatch.setenv("SHORT_TOKEN", "rows")
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/a.pem")
    monkeypatch.setenv("LONG_KEY", "hf_0123456789-and-more")
    told = masked("rows: hf_0123456789-and-more, hf_0123456789, 'sk-0123456789' in /etc/ssl/a.pem")
    assert told == "rows: ***, ***, '***' in /etc/ssl/a.pem"


def test_the_commit_is_that_of_this_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # In a hook of another repository git's variables name that one.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    expected = versions()["commit"]
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert versions()["commit"] == expected
