"""The made-up run of tests/toy_run.py, made once a module, and a browser."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_run import make_toy_run

from forgetfilter.report.page import write_report
from forgetfilter.report.stage import settings
from forgetfilter.storage.run_folder import Run


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_toy_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(toy_run: Run) -> str:
    return write_report(settings(toy_run)).read_text(encoding="utf-8")


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[..., str]:
    """What a real browser makes of a page, with options of its own: its document once the scripts have run."""
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=10000", "--dump-dom"]

    def dump(page: Path, *options: str) -> str:
        return subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120).stdout

    return dump
