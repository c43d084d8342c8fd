"""The made-up run of tests/toy_run.py, made once a module."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Browser
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
def rendered(browser: Browser) -> Callable[..., str]:
    """What a real browser makes of a page: its document once the scripts have run."""

    def dump(page: Path, dark: bool = False) -> str:
        browser.open(page, dark=dark)
        return str(browser.run("document.documentElement.outerHTML"))

    return dump
