"""The pages: each is in the site's navigation, and their links lead somewhere."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from forgetfilter.config.load import load_config

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), ROOT / "slurm" / "README.md", *DOCS.rglob("*.md")]


@pytest.fixture(scope="module")
def elsewhere() -> Any:
    """The hook of the site, which imports MkDocs only where it is called by it."""
    spec = importlib.util.spec_from_file_location("elsewhere", DOCS / "elsewhere.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets(nav: Any) -> Iterator[str]:
    """The pages of a navigation, from top to bottom."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from targets(part)


def without_code(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    """The headings as MkDocs names them: lower case, words joined by hyphens."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", heading)).strip().lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


def test_every_page_is_in_the_navigation_once(elsewhere: Any) -> None:
    # Those of docs/, and those that the hook takes from elsewhere; and the navigation names no others.
    named = list(targets(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | {*elsewhere.PAGES}
    assert len(named) == len({*named}) and {*named} == there
    assert all((ROOT / source).is_file() for source in elsewhere.PAGES.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    # Pictures and the headings behind # too.
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}"


def test_a_link_out_of_the_site_becomes_one_within_it_or_plain_text(elsewhere: Any) -> None:
    # The Slurm guide lies in slurm/, a result of bench/ is not on the site, and the rest stays as it is.
    text = "[a](../slurm/README.md#trouble) [b](../bench/results/costs.json) [c](runs.md#sums) ![d](../x.png)"
    assert elsewhere.rewritten(text, "compare.md") == "[a](slurm.md#trouble) b [c](runs.md#sums) ![d](../x.png)"
    assert elsewhere.rewritten("[e](../docs/faults.md)", "slurm.md") == "[e](faults.md)"
    assert elsewhere.rewritten("[f](../faults.md)", "findings/2026-11-28.md") == "[f](../faults.md)"


def test_the_site_loads_nothing_from_elsewhere() -> None:
    # It is read offline: no fonts of a server, no scripts, styles or pictures by an address.
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert site["theme"]["font"] is False and site["use_directory_urls"] is False and site["plugins"] == ["search"]
    assert not {"extra_javascript", "extra_css"} & {*site}
    assert not any(re.search(r"!\[[^\]]*\]\(https?:|<(img|script|link)\b", without_code(page)) for page in PAGES)


def test_the_messages_that_are_explained_are_said_somewhere() -> None:
    # A message that was reworded would no longer be found on its page.
    sources = [path for folder in ("forgetfilter", "train", "filter", "eval") for path in (ROOT / folder).rglob("*.py")]
    said = " ".join(re.sub(r'"\s*f?"', "", path.read_text(encoding="utf-8")) for path in sources)
    cells = re.findall(r"^\| (`[^|]*) \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 15 and [text for text in quoted if text not in said] == []


def test_the_configs_on_the_pages_are_accepted(tmp_path: Path) -> None:
    # Keys, choices and bounds, by the check of a real one; a part of a config stands beside README's.
    found = {(page, block) for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)}
    (whole,) = (block for page, block in found if page == ROOT / "README.md")
    for page, block in found:
        (tmp_path / "config.yaml").write_text(block if "data:" in block else whole + block)
        assert load_config(tmp_path / "config.yaml").data.noisy, page.name
    assert len(found) >= 3
