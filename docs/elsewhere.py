"""MkDocs hook: pages of the site that lie elsewhere in the repository, and links of a page that lead out of docs/.

A page of PAGES is read where it lies. A link to a page of the site leads there; of a link to any other file of the
repository, which the site does not hold, only its text stays.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"slurm.md": "slurm/README.md", "extending.md": "CONTRIBUTING.md"}
MOVED = {source: page for page, source in PAGES.items()}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, page: str) -> str:
    """The text with its links as the site has them; `page` is its path there, such as findings/2026-11-28.md."""
    source = PurePosixPath(PAGES.get(page, f"docs/{page}"))

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in path:
            return found[0]
        there = os.path.normpath(source.parent / path)
        inside = there.removeprefix("docs/") if there.startswith("docs/") else MOVED.get(there)
        if inside is None:
            return text
        to = os.path.relpath(inside, PurePosixPath(page).parent)
        return f"[{text}]({to}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(link, markdown)
