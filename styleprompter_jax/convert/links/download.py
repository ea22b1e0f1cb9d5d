"""A link in place of a file: fetched once, whole or not at all.

In the user's cache each link has a folder (`shelf`). Only https is spoken, and http
with this machine itself. httpx does (the extra `download`); gdown and pooch follow
redirects to any scheme, take any size, and go on with what may have changed meanwhile.
"""

import contextlib
import dataclasses
import errno
import hashlib
import ipaddress
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from tqdm import tqdm

from styleprompter_jax.convert.links import answers, drive
from styleprompter_jax.convert.links.answers import Record
from styleprompter_jax.convert.links.shelf import Shelf, written
from styleprompter_jax.convert.reading.files import is_web_page
from styleprompter_jax.core import sums
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.version import __version__

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

MAX_SIZE = 8 * 2**30  # bytes
TIMEOUT = 30.0  # seconds without a byte
# The slowest server that is waited for: bytes a second, over so many seconds.
SLOWEST, PATIENCE = 1000, 60.0
REDIRECTS = 10
_AGAIN = "try again; what has arrived is kept where the server can go on from it"
_BROWSER = "fetch it in a browser, and name the file"
_STATUS = {
    401: f"asks for a login: {_BROWSER}",
    403: f"refuses it, for want of a login or a consent: {_BROWSER}",
    404: "has no such file: look at the link",
    410: "has no such file any more: look for another link",
    429: "has had too many requests: try again later",
}


def shown(link: str) -> str:
    """A link for messages: without a password, or what may be one."""
    parts = urlsplit(link)
    query = "?..." if parts.query else ""
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
    return text if text.isprintable() else quoted(text)


def fetch(link: str, sha256: str | None = None) -> Path:
    """The file behind a link, from the cache, or fetched into it.

    What the cache holds is used where it has the SHA-256 asked for, where its server
    says that it is the same still, and where there is no network.

    Args:
        link: https://..., or a link that Google Drive shares a file by.
        sha256: what the file must have, in small hexadecimal digits; None takes any.

    Returns:
        Its path, under the name that the server gives it.

    Raises:
        StylePrompterError: in one sentence. Nothing is left then but, in the cache, the
            beginning of an interrupted download.
    """
    httpx = _httpx()
    try:
        spoken = _is_spoken(httpx.URL(link))
    except (httpx.InvalidURL, ValueError) as error:
        raise StylePrompterError(
            f"{link!r} is no link ({error}): look at it."
        ) from error
    if not spoken:
        raise StylePrompterError(
            f"{shown(link)} is no https:// link: give one, or a file of this machine."
        )
    root = cache_folder("downloads")
    with written(root):
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    key = hashlib.sha256(link.encode()).hexdigest()[:24]
    with lock(root / f".{key}.lock"):
        shelf = Shelf(root / key)
        try:
            return _Download(link, shelf, sha256).run()
        finally:
            shelf.tidy()


class _Download:
    """One link, what the cache holds of it, and what is asked of it."""

    def __init__(self, link: str, shelf: Shelf, sha256: str | None):
        self.title, self.shelf, self.sha256 = shown(link), shelf, sha256
        self.link, self.shared = link, drive.file_address(link)
        self.kept = shelf.kept

    def run(self) -> Path:
        """The file: the one that is kept, or fetched."""
        if self.kept and self.sha256 == self.kept.sha256:
            return self.shelf.file
        httpx = _httpx()
        try:
            with httpx.Client(timeout=TIMEOUT) as client:
                return self._ask(client, self.shared or self.link)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if self.kept and self.sha256 is None:
                log.warning(
                    "%s cannot be reached: its copy in the cache is used.", self.title
                )
                return self.shelf.file
            why = f"cannot be reached ({str(error) or type(error).__name__})"
            raise self._error(why, "look at the network and the link") from error
        except httpx.TimeoutException as error:
            raise self._error(f"was silent for {TIMEOUT:g} seconds", _AGAIN) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._error(f"broke off ({error})", _AGAIN) from error
        # Of a redirect, or a host that cannot be written.
        except (httpx.InvalidURL, UnicodeError, OverflowError) as error:
            raise self._error(f"leads nowhere ({error})", "look at it") from error

    def _ask(
        self,
        client: "httpx.Client",
        address: str,
        confirmed: bool = False,
        resume: bool = True,
    ) -> Path:
        """Asks for the file, or for the rest of it, and takes what comes."""
        # The page that Google Drive may send first has no parts.
        ready = resume and (confirmed or not self.shared)
        record = self.shelf.begun() if ready else None
        start = self.shelf.size() if record else 0
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"styleprompter_jax/{__version__}",
        }
        if record:
            headers |= {"Range": f"bytes={start}-", "If-Range": record.validator}
        elif self.kept and self.sha256 is None:
            headers |= self.kept.unless_changed()
        with self._open(client, address, headers) as response:
            status = response.status_code
            if status == 304 and self.kept and not start:
                return self.shelf.file
            if status not in (200, 206, 416):
                raise self._refusal(status)
            if answers.is_page(response):
                page = answers.read_page(response)
                follow = drive.confirmed_address(page, str(response.url))
                if not self.shared or confirmed or not follow:
                    raise self._page(page)
                address, confirmed = follow, True
            elif status == 200:
                found = answers.describe(response, self.link)
                if self.kept and self.sha256 is None and self.kept.is_same(found):
                    return self.shelf.file
                self._receive(response, 0, found)
                return self._finish(found)
            elif record and (length := answers.goes_on(response, start, record)):
                found = dataclasses.replace(record, length=length)
                self._receive(response, start, found)
                return self._finish(found)
            elif not start:
                raise self._refusal(status)
            else:
                resume = False  # what is there is no beginning of the file as it is
        return self._ask(client, address, confirmed, resume)

    @contextlib.contextmanager
    def _open(
        self, client: "httpx.Client", address: str, headers: dict
    ) -> Iterator["httpx.Response"]:
        """The answer behind all redirects, of which none leads to another scheme."""
        url = _httpx().URL(address)
        for _ in range(REDIRECTS + 1):
            request = client.build_request("GET", url, headers=headers)
            response = client.send(request, stream=True)
            if not response.has_redirect_location:
                break
            response.close()
            target = url.join(response.headers["Location"])
            if target.scheme != url.scheme or not _is_spoken(target):
                raise self._error(
                    f"leads from {url.scheme} to {shown(str(target))}, which is not "
                    "followed",
                    _BROWSER,
                )
            url = target
        else:
            raise self._error(f"leads on more than {REDIRECTS} times", _BROWSER)
        with contextlib.closing(response):
            yield response

    def _receive(self, response: "httpx.Response", start: int, found: Record) -> None:
        """Writes an answer behind the first ``start`` bytes of the partial file."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._error("is sent compressed, which was not asked for", _BROWSER)
        if (found.length or 0) > MAX_SIZE:
            raise self._too_large(f"has {found.length:,} bytes")
        with written(self.shelf.folder, self.shelf.drop_partial):
            if not start:
                self.shelf.begin(found)
            if (found.length or 0) - start > shutil.disk_usage(self.shelf.folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with self.shelf.partial.open("ab" if start else "wb") as file:
                size = self._copy(response, file, start, found)
        if found.length is not None and size != found.length:
            raise self._error(f"ended after {size:,} of {found.length:,} bytes", _AGAIN)

    def _copy(
        self, response: "httpx.Response", file: BinaryIO, start: int, found: Record
    ) -> int:
        """The size of the file when the answer has ended."""
        size, last, since = start, start, time.monotonic()
        bar = tqdm(
            desc=found.name[:40],
            initial=start,
            total=found.length,
            unit="B",
            unit_scale=True,
            disable=None,
            leave=False,
        )
        with bar:
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > MAX_SIZE:
                    self.shelf.drop_partial()
                    raise self._too_large("does not end")
                file.write(chunk)
                file.flush()  # a kill loses nothing that has arrived
                bar.update(len(chunk))
                if (passed := time.monotonic() - since) > PATIENCE:
                    if size - last < SLOWEST * passed:
                        raise self._error(
                            f"sends less than {SLOWEST:g} bytes a second", _AGAIN
                        )
                    last, since = size, time.monotonic()
        return size

    def _finish(self, found: Record) -> Path:
        """Gives the whole file its name, if it is what was asked for."""
        with written(self.shelf.folder, self.shelf.drop_partial):
            with self.shelf.partial.open("rb") as file:
                head = file.read(answers.PAGE)
                file.seek(0)
                digest = sums.sha256(file)
                found = dataclasses.replace(found, length=file.tell(), sha256=digest)
            if is_web_page(head):
                self.shelf.drop_partial()
                raise self._page(head.decode(errors="replace"))
            if not found.length:
                self.shelf.drop_partial()
                raise self._error("is empty", "look at the link")
            if self.sha256 not in (None, digest):
                self.shelf.drop_partial()
                raise self._error(
                    f"has the SHA-256 {digest} in place of {self.sha256}",
                    "look at both, and at what the link is of",
                )
            return self.shelf.keep(found)

    def _error(self, what: str, way_out: str) -> StylePrompterError:
        return StylePrompterError(f"{self.title} {what}: {way_out}.")

    def _refusal(self, status: int) -> StylePrompterError:
        otherwise = f"fails: try again later, or {_BROWSER}"
        what = _STATUS.get(status, otherwise)
        return StylePrompterError(f"{self.title}: its server {what} (status {status}).")

    def _page(self, page: str) -> StylePrompterError:
        return self._error(
            f"is a web page{answers.title(page)} in place of a file",
            f"it may ask for a login, or say that a quota is used up: {_BROWSER}",
        )

    def _too_large(self, what: str) -> StylePrompterError:
        return self._error(
            f"{what}, and more than {MAX_SIZE / 2**30:g} GiB are not fetched", _BROWSER
        )


def _is_spoken(url: "httpx.URL") -> bool:
    """Whether a URL is of https; or of http, and of this machine."""
    if url.scheme == "https":
        return bool(url.host)
    if url.scheme != "http":
        return False
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise StylePrompterError(
            "A link in place of a file needs the extra `download`: install it with "
            "`pip install 'styleprompter_jax[download]'`, or name a file."
        ) from error
    return httpx
