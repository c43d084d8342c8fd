"""The pages of the studies have the layout of the report: on three widths, light and dark, for everybody."""

from pathlib import Path
from typing import Any

import pytest
from browser import Browser

from forgetfilter.study import compare_page, scale_page

DEFENCES = ("none", "oracle", "<b>another")
CURVES = {"run": "r-none-0", "stages": {"noisy": {"web": [(1.0, 3.0), (2.0, 2.0)]}, "safe": {"web": [(1.0, 1.0)]}}}


def point(name: str) -> dict[str, Any]:
    """One point of a comparison's grid."""
    measured = {"value": 0.3, "low": 0.2, "high": 0.5, "headline": True, "better": "lower"}
    metrics = {suite: {"rate": measured} for suite in ("toxicity", "harmfulness")}
    return {"point": name, "rows": [{"defence": defence, "metrics": metrics} for defence in DEFENCES]}


def compared(*points: str) -> str:
    value = {"name": "a<b", "done": 5, "members": 6, "defences": dict.fromkeys(DEFENCES, ""), "curves": CURVES}
    return compare_page.page(value | {"points": [point(name) for name in points]})


def scaled() -> str:
    suites = [{"suite": "toxicity", "metric": "rate", "better": "lower", "before": 0.3, "after": 0.1}]
    sizes = {"small": 135_000_000, "large": 1_700_000_000}
    about = {"auroc": 0.9, "f1": 0.8, "seconds": 9.0, "suites": suites, "seed": 0}
    rows = [about | {"model": model, "parameters": size} for model, size in sizes.items()]
    missing = [{"run": "s-large-1", "status": "pending"}]
    return scale_page.page({"name": "a<b", "done": 2, "members": 3, "missing": missing, "rows": rows})


PAGES = {
    "compare": lambda: compared(""),
    "grid": lambda: compared("mixture.unsafe_share=0.05", "mixture.unsafe_share=0.25"),
    "scale": scaled,
}


@pytest.mark.parametrize("name", PAGES)
def test_no_rule_of_a_or_aa_is_broken(name: str, tmp_path: Path, browser: Browser) -> None:
    # Nothing is wider than the screen, nothing is loaded or thrown, and no name is taken for markup.
    (tmp_path / "page.html").write_text(PAGES[name]())
    for width, dark in ((1440, False), (390, True)):
        browser.open(tmp_path / "page.html", width=width, dark=dark)
        assert browser.violations() == [] and browser.run("document.documentElement.scrollWidth") == width
        assert not browser.errors and len(browser.requests) == 1
        assert browser.run("document.querySelector('h1').textContent").endswith(" a<b")
    assert browser.run("[...document.querySelectorAll('.chart')].every(one => one.querySelector('.main-svg'))")
    if name == "compare":  # the check can fail
        browser.run("document.documentElement.removeAttribute('lang')")
        assert "html-has-lang" in browser.violations()[0]


def test_a_page_of_a_study_is_dark_where_the_screen_is(tmp_path: Path, browser: Browser) -> None:
    # The ground of the page and the paper of its figures change with the system's setting, as those of the report.
    (tmp_path / "page.html").write_text(scaled())
    seen = []
    for dark in (False, True):
        browser.open(tmp_path / "page.html", dark=dark)
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        seen.append((ground, browser.run("document.querySelector('.main-svg').style.background")))
    assert seen == [("rgb(245, 247, 250)", "rgb(255, 255, 255)"), ("rgb(17, 23, 29)", "rgb(27, 35, 44)")]
