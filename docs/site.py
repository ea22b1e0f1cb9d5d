"""Hooks of MkDocs: README.md is the home page; links to code go to the repository."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md as the home page."""
    text = (ROOT / "README.md").read_text()
    files.append(File.generated(config, "index.md", content=_as_home(text)))
    return files


def _as_home(text: str) -> str:
    """README.md with its links as seen from docs/."""

    def seen(match: re.Match[str]) -> str:
        path = posixpath.relpath(match[2], "docs")
        return f"{match[1]}{path}{match[3] or ''})"

    return _LINK.sub(seen, text)


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Sends links that leave docs/ to the repository; a link to no file is kept."""
    folder = posixpath.dirname(page.file.src_uri)

    def sent(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/") or not (ROOT / path).exists():
            return match[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        address = f"{config.extra['repository']}/{kind}/main/{path}"
        return f"{match[1]}{address}{match[3] or ''})"

    return _LINK.sub(sent, markdown)
