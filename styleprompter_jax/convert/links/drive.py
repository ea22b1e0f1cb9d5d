"""Finds the file of a Google Drive link, and confirms the warning page before it."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit

from styleprompter_jax.core.errors import StylePrompterError

DOWNLOAD = "https://drive.google.com/uc"
_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
_ID = re.compile(r"[\w-]{10,}", re.ASCII)


def file_address(link: str) -> str | None:
    """Returns the address of the file behind a link of Google Drive.

    Args:
        link: .../file/d/ID/view, .../open?id=ID, .../uc?id=ID and the like.

    Returns:
        The address; None for a link to another site.

    Raises:
        StylePrompterError: if the link names a folder, or no file.
    """
    parts = urlsplit(link)
    if parts.hostname not in _HOSTS:
        return None
    if "/folders/" in parts.path:
        raise StylePrompterError(
            f"{link} is a folder of Google Drive: open it in a browser, and give the "
            "link of the file."
        )
    path = re.search(r"/file/(?:u/\d+/)?d/([^/]+)", parts.path)
    query = parse_qs(parts.query)
    name = path[1] if path else query.get("id", [""])[0]
    if not _ID.fullmatch(name):
        raise StylePrompterError(
            f"{link} is not a link to a file of Google Drive: copy the link from the "
            'file\'s "Share" menu.'
        )
    wanted = {"export": "download", "id": name}
    if "resourcekey" in query:  # files that were shared before 2021 have this key
        wanted["resourcekey"] = query["resourcekey"][0]
    return f"{DOWNLOAD}?{urlencode(wanted, quote_via=quote)}"


def confirmed_address(page: str, address: str) -> str | None:
    """Returns the download address in the page "can't scan this file for viruses".

    Args:
        page: HTML of the page.
        address: address of the page.

    Returns:
        The address of the page's form; None for another page.
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
