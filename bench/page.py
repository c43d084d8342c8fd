"""How large a report is, and how soon a browser shows it.

    python bench/page.py --rows 100000 FOLDER   # writes the report of a made-up run of so many rows into FOLDER
    python bench/page.py PAGE... [--times 5]    # measures pages in a real Chromium without a window

Prints, for each page, its megabytes and the medians in milliseconds, counted from the navigation: the first paint (of
its first content), the load event (all charts are drawn by then), and a search through all rows of the review, which is
timed alone.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser
from toy_run import make_toy_run

from forgetfilter.report.page import write_report
from forgetfilter.report.stage import settings

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
LOAD = "performance.getEntriesByType('navigation')[0].loadEventStart"
SEARCH = """typeof unpacked === 'undefined' ? null : unpacked.then(() => {
  const start = performance.now();
  rows.part('search').value = 'question 99';
  choose();
  return performance.now() - start;
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    if options.rows:
        print(write_report(settings(make_toy_run(options.pages[0], rows=options.rows))))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder))
        for page in options.pages:
            print(json.dumps(measured(browser, page.resolve(), options.times)))
        browser.close()


def measured(browser: Browser, page: Path, times: int) -> dict[str, object]:
    found: dict[str, list[float]] = {"first_paint_ms": [], "load_ms": [], "search_ms": []}
    for _ in range(times):
        browser.open(page)
        browser.run(
            "new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))"
        )  # the paint is noted late
        for name, script in zip(found, (PAINT, LOAD, SEARCH)):
            if (value := browser.run(script)) is not None:
                found[name].append(value)
    medians = {name: round(statistics.median(values)) if values else None for name, values in found.items()}
    return {"page": str(page), "megabytes": round(page.stat().st_size / 1e6, 2)} | medians


if __name__ == "__main__":
    main()
