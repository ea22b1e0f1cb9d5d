"""Reads a server's answers about a file: its name, its length, and changes."""

import dataclasses
import os
import re
import unicodedata
from email.message import Message
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from styleprompter_jax.core.refusal import quoted

if TYPE_CHECKING:
    import httpx

PAGE = 2**20  # bytes of a web page that the program reads
RECORD, PARTIAL_RECORD, PARTIAL = "record.json", "partial.json", "file.partial"
_NAME = 120  # largest length of a file's name in bytes
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclasses.dataclass(frozen=True)
class Record:
    """A server's description of a file, and its SHA-256 once it is complete."""

    name: str
    length: int | None = None
    etag: str = ""
    modified: str = ""
    sha256: str = ""

    @property
    def validator(self) -> str:
        """The header value that identifies the same bytes, or "" without one."""
        return self.etag if self.etag[:1] == '"' else self.modified

    def unless_changed(self) -> dict[str, str]:
        """Returns headers that request the file only if it has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified else {}

    def is_same(self, other: "Record") -> bool:
        """Returns whether both describe the same file; does not compare the bytes."""
        mine, theirs = self.etag or self.modified, other.etag or other.modified
        known = mine or self.length is not None
        return bool(known) and (mine, self.length) == (theirs, other.length)


def describe(response: "httpx.Response", link: str) -> Record:
    """Reads the headers of a complete answer."""
    length = response.headers.get("Content-Length", "")
    return dataclasses.replace(
        _marks(response),
        name=file_name(response.headers.get("Content-Disposition", ""), link),
        length=int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None,
    )


def _marks(response: "httpx.Response") -> Record:
    """Reads the headers that identify a version of a file."""

    def mark(header: str) -> str:
        text = response.headers.get(header, "")
        return text if text.isascii() and text.isprintable() and len(text) < 500 else ""

    return Record(name="", etag=mark("ETag"), modified=mark("Last-Modified"))


def goes_on(response: "httpx.Response", start: int, record: Record) -> int | None:
    """Returns the length of the whole file, if an answer has all bytes from ``start``.

    Returns None if the answer is not exactly the rest of the recorded file.
    """
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not found:
        return None
    first, last, length = map(int, found.groups())
    # A server may ignore If-Range, and send the rest of another version.
    now = _marks(response)
    same = now.validator == record.validator and now.etag == record.etag
    whole = first == start and last == length - 1 and record.length in (None, length)
    return length if same and whole else None


def file_name(disposition: str, link: str) -> str:
    """Returns a printable name for the file, without folders.

    Args:
        disposition: the header Content-Disposition, or "".
        link: address of the file; its last part is the name if the header has no name.
    """
    message = Message()
    message["Content-Disposition"] = disposition or "inline"
    name = message.get_filename() or unquote(urlsplit(link).path)
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name.rstrip("/"))[-1])
    kept = "".join(c for c in name if c.isprintable() and c not in '<>:"|?*')
    kept = kept.strip(" .")
    stem, suffix = os.path.splitext(kept)
    suffix = suffix if len(suffix.encode()) <= 16 else ""
    short = stem.encode()[: _NAME - len(suffix.encode())].decode(errors="ignore")
    name = short + suffix or "download"
    return f"_{name}" if name in (RECORD, PARTIAL_RECORD, PARTIAL) else name


def is_page(response: "httpx.Response") -> bool:
    """Returns whether the headers of the answer declare a web page."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def has_end(response: "httpx.Response") -> bool:
    """Returns whether an answer shows its end, so that a cut cannot pass unseen."""
    return not {"content-length", "transfer-encoding"}.isdisjoint(response.headers)


def read_page(response: "httpx.Response") -> str:
    """Reads the beginning of a web page, without unpacking a compressed one."""
    content = b""
    for chunk in response.iter_raw(2**16):
        content += chunk
        if len(content) >= PAGE:
            break
    return content[:PAGE].decode(errors="replace")


def title(page: str) -> str:
    """Returns the title of a web page as " ('title')", or "" without a title."""
    found = re.search(r"<title[^>]*>([^<]*)", page, re.IGNORECASE)
    text = " ".join(found[1].split())[:80] if found else ""
    return f" ({quoted(text)})" if text else ""
