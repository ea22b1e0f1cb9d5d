"""Google Drive's links: where the file behind one is, and the page that asks first."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

from styleprompter_jax.core.errors import StylePrompterError

DOWNLOAD = "https://drive.google.com/uc"
_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
_ID = re.compile(r"[\w-]{10,}", re.ASCII)


def file_address(link: str) -> str | None:
    """The address of the file that a link of Google Drive shares.

    Args:
        link: .../file/d/ID/view, .../open?id=ID, .../uc?id=ID and the like.

    Returns:
        The address; None for a link elsewhere.

    Raises:
        StylePrompterError: if it is of a folder or of no file.
    """
    parts = urlsplit(link)
    if parts.hostname not in _HOSTS:
        return None
    if "/folders/" in parts.path:
        raise StylePrompterError(
            f"{link} is a folder of Google Drive: open it in a browser, and name the "
            "link of the file."
        )
    path = re.search(r"/file/(?:u/\d+/)?d/([^/]+)", parts.path)
    query = parse_qs(parts.query)
    name = path[1] if path else query.get("id", [""])[0]
    if not _ID.fullmatch(name):
        raise StylePrompterError(
            f"{link} is no link to a file of Google Drive: copy the one that its "
            '"Share" gives.'
        )
    wanted = {"export": "download", "id": name}
    if "resourcekey" in query:  # of files that were shared before 2021
        wanted["resourcekey"] = query["resourcekey"][0]
    return f"{DOWNLOAD}?{urlencode(wanted, quote_via=quote)}"


def confirmed_address(page: str, address: str) -> str | None:
    """Where the page that says "can't scan this file for viruses" leads.

    Args:
        page: its HTML.
        address: its own address.

    Returns:
        The address of its form; None for another page.
    """
    form = _Form()
    form.feed(page)
    if not form.action or "id" not in form.inputs:
        return None
    return urljoin(address, form.action) + "?" + urlencode(form.inputs)


class _Form(HTMLParser):
    """The form "download-form" of a page, and its hidden inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.action, self._inside = "", False
        self.inputs: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self._inside = found.get("id") == "download-form"
            if self._inside:
                self.action = found.get("action") or ""
        elif tag == "input" and self._inside and (name := found.get("name")):
            self.inputs[name] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
