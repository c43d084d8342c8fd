"""The report on screens of three widths, light and dark, and on paper, for everybody: checked by axe-core."""

from pathlib import Path

import pytest
from browser import Browser
from toy_run import make_toy_run, with_answers, with_sweep

from forgetfilter.report.page import write_report
from forgetfilter.report.stage import settings

READY = "unpacked.then(() => unpacked_prompts).then(() => 1)"
OPEN = """for (const name of ['prompts', 'review']) document.querySelector(`#${name}-rows .show`).click();
document.querySelector('#review-rows .say').click(); unsaved = false;
document.querySelector('#review-rows summary').click()"""


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every part, hostile names included."""
    return write_report(settings(with_sweep(with_answers(make_toy_run(tmp_path_factory.mktemp("full"))))))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_no_rule_of_a_or_aa_is_broken(full_page: Path, browser: Browser, width: int, dark: bool) -> None:
    # With a text shown and an answer given. Nothing is wider than the screen, and nothing is loaded or thrown.
    browser.open(full_page, width=width, dark=dark)
    browser.run(READY)
    browser.run(OPEN)
    browser.until("document.querySelector('.near .row')")
    assert browser.violations() == [] and browser.run("document.documentElement.scrollWidth") == width
    assert not browser.errors and len(browser.requests) == 1
    if (width, dark) == (1440, False):  # the check can fail
        browser.run("document.getElementById('review-search').closest('label').firstChild.remove()")
        assert "label" in browser.violations()[0]


def test_tables_are_not_cut_off_on_a_phone(full_page: Path, browser: Browser) -> None:
    # The metrics of a model stand below one another there, each with its name, and the row of headings is not seen.
    browser.open(full_page, width=390)
    wide = "[...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth + 1)"
    assert browser.run(f"{wide}.map(one => one.getAttribute('aria-label'))") == []
    third = "document.querySelectorAll('.stack:has([data-label=base]) td')[2]"  # the table of the metrics
    assert browser.run(f"getComputedStyle({third}, '::before').content") == '"base"'


def test_paper_has_no_controls_and_no_masked_rows(full_page: Path, browser: Browser) -> None:
    # Of the rows only the one that was shown is printed, and no button.
    browser.open(full_page, media="print")
    browser.run(READY)
    browser.run(OPEN)
    browser.until("document.querySelector('.near .row')")  # what resembles a row is not printed, and hides it not
    seen = "[...document.querySelectorAll('WHAT')].filter(one => one.offsetHeight).length"
    counts = [browser.run(seen.replace("WHAT", what)) for what in (".row", "button", ".controls", ".printed")]
    assert counts == [2, 0, 0, 2]
