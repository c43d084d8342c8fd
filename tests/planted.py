"""Secrets where people have them, and the means to look for them in everything that a command says or writes."""

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MARK = b"planted"
VARIABLES = {
    "JUDGE_PASSWORD": "planted-password", "OPENAI_API_KEY": "planted-judge-key", "HF_TOKEN": "hf_planted",
    "WANDB_API_KEY": "planted-of-wandb-0123456789abcdef0123456", "HTTPS_PROXY": "http://me:planted-proxy@127.0.0.1:9",
    "http_proxy": "http://planted-user:x@127.0.0.1:9", "AWS_SECRET_ACCESS_KEY": "planted/of+aws",
    "DATA_ADDRESS": "https://me:planted-of-data@127.0.0.1/rows.jsonl",
}  # fmt: skip
NETRC = "machine huggingface.co login me password planted-in-netrc\nmachine example.org login me password planted-too\n"
REMOTE = "https://planted-token:x-oauth-basic@127.0.0.1/me/data.git"


def plant(environment: pytest.MonkeyPatch, folder: Path) -> None:
    """Plants them in the environment, in netrc, and in the address of the repository in which `folder` lies."""
    for name, value in VARIABLES.items():
        environment.setenv(name, value)
    (folder / ".netrc").write_text(NETRC)
    environment.setenv("NETRC", str(folder / ".netrc"))
    command = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@127.0.0.1"]
    for words in ("init -q", f"remote add origin {REMOTE}", "commit -q --allow-empty -m first"):
        subprocess.run([*command, *words.split()], check=True)


@contextlib.contextmanager
def said(file: Path) -> Iterator[None]:
    """Writes to the file what this process and those that it starts print meanwhile."""
    text = io.StringIO()
    before = [os.dup(1), os.dup(2)]
    with open(file, "ab") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                yield
        finally:
            for stream, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, stream)
                os.close(kept)
            out.write(text.getvalue().encode())


def holding(*places: Path) -> list[Path]:
    """The files that hold a planted secret."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    return sorted(file for file in files if file.is_file() and MARK in file.read_bytes())
