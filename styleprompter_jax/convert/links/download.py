"""Downloads a linked file once, completely or not at all.

Each link has a folder in the user's cache (`shelf`). The program uses only https, and
http for servers on the same machine. It uses httpx (the extra `download`). The packages
gdown and pooch follow redirects to any scheme, accept any size, and resume a download
although the file may have changed.
"""

import contextlib
import dataclasses
import errno
import hashlib
import ipaddress
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from styleprompter_jax.convert.links import answers, drive
from styleprompter_jax.convert.links.answers import Record
from styleprompter_jax.convert.links.patience import Patience
from styleprompter_jax.convert.links.shelf import Shelf, written
from styleprompter_jax.convert.reading.files import is_web_page
from styleprompter_jax.core import sums
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.lock import lock
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.core.progress import Progress
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.version import __version__

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

MAX_SIZE = 8 * 2**30  # bytes
TIMEOUT = 30.0  # seconds without a byte
# The slowest acceptable server: bytes per second, measured over PATIENCE seconds. All
# redirects and headers together may take PATIENCE seconds too.
SLOWEST, PATIENCE = 1000, 60.0
REDIRECTS = 10
_AGAIN = "try again; if the server allows it, the download resumes"
_BROWSER = "download the file in a browser, and name the file"
_STATUS = {
    401: f"asks for a login: {_BROWSER}",
    403: f"refuses access without a login or a consent: {_BROWSER}",
    404: "has no such file: check the link",
    410: "has no such file any more: find another link",
    429: "got too many requests: try again later",
}


def shown(link: str) -> str:
    """Returns a link for messages, without passwords and without the query."""
    parts = urlsplit(link)
    query = "?..." if parts.query else ""
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
    return text if text.isprintable() else quoted(text)


def fetch(link: str, sha256: str | None = None) -> Path:
    """Downloads a linked file into the cache, or takes it from the cache.

    It takes the file from the cache if the file has the given SHA-256, if the server
    says that the file has not changed, or if there is no network.

    Args:
        link: https://..., or a share link of Google Drive.
        sha256: the SHA-256 that the file must have, in lower-case hexadecimal digits;
            None accepts any file.

    Returns:
        The path of the file, with the name that the server gives it.

    Raises:
        StylePrompterError: if the link is invalid, or the file cannot be downloaded or
            has another SHA-256. Only the beginning of an interrupted download may
            remain in the cache.
    """
    httpx = _httpx()
    try:
        spoken = _is_spoken(httpx.URL(link))
    except (httpx.InvalidURL, ValueError) as error:
        raise StylePrompterError(
            f"{link!r} is not a valid link ({error}): correct it."
        ) from error
    if not spoken:
        raise StylePrompterError(
            f"{shown(link)} is not an https:// link: give an https:// link or a local "
            "file."
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
    """The download of one link, with the state of the cache and the given SHA-256."""

    def __init__(self, link: str, shelf: Shelf, sha256: str | None):
        self.title, self.shelf, self.sha256 = shown(link), shelf, sha256
        self.link, self.shared = link, drive.file_address(link)
        self.kept = shelf.kept
        self.patience = Patience(PATIENCE)

    def run(self) -> Path:
        """Returns the file from the cache, or downloads it."""
        if self.kept and self.sha256 == self.kept.sha256:
            return self.shelf.file
        httpx = _httpx()
        # `Patience` ends the newest connection: each request makes its own.
        options = {
            "timeout": TIMEOUT,
            "limits": httpx.Limits(max_keepalive_connections=0),
            "event_hooks": {"response": [self._check_redirect]},
        }
        try:
            with httpx.Client(**options) as client, self.patience:
                return self._ask(client, self.shared or self.link)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if self.kept and self.sha256 is None:
                log.warning(
                    "%s cannot be reached: using the copy in the cache.", self.title
                )
                return self.shelf.file
            why = f"cannot be reached ({str(error) or type(error).__name__})"
            raise self._error(why, "check the network and the link") from error
        except httpx.TimeoutException as error:
            why = f"sent nothing for {TIMEOUT:g} seconds"
            raise self._error(why, _AGAIN) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            if self.patience.over:
                raise self._too_slow() from error
            raise self._error(f"was interrupted ({error})", _AGAIN) from error
        # These errors come from the name of a host, or from the form of a page.
        except (httpx.InvalidURL, UnicodeError, OverflowError) as error:
            what = f"leads to an invalid address ({error})"
            raise self._error(what, "check the link") from error

    def _ask(
        self,
        client: "httpx.Client",
        address: str,
        confirmed: bool = False,
        resume: bool = True,
    ) -> Path:
        """Requests the file, or the rest of it, and handles the answer."""
        # Google Drive may send a page first, which cannot be resumed.
        ready = resume and (confirmed or not self.shared)
        self.patience.renew()
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
                resume = False  # the partial file belongs to another version
        return self._ask(client, address, confirmed, resume)

    @contextlib.contextmanager
    def _open(
        self, client: "httpx.Client", address: str, headers: dict
    ) -> Iterator["httpx.Response"]:
        """Opens the answer after all redirects."""
        url = _httpx().URL(address)
        for _ in range(REDIRECTS + 1):
            request = client.build_request("GET", url, headers=headers)
            request.extensions["trace"] = self.patience.trace
            response = client.send(request, stream=True)
            if not response.has_redirect_location:
                break
            response.close()
            url = _target(response)
        else:
            raise self._error(f"redirects more than {REDIRECTS} times", _BROWSER)
        with contextlib.closing(response):
            yield response

    def _check_redirect(self, response: "httpx.Response") -> None:
        """Refuses a redirect to another scheme, before httpx parses its address."""
        if not response.has_redirect_location:
            return
        scheme = response.url.scheme
        try:
            target = _target(response)
            followed = target.scheme == scheme and _is_spoken(target)
        except (_httpx().InvalidURL, ValueError) as error:
            raise self._error(
                f"redirects to an invalid address ({error})", _BROWSER
            ) from error
        if not followed:
            raise self._error(
                f"redirects from {scheme} to {shown(str(target))}, and the program "
                "does not follow that",
                _BROWSER,
            )

    def _receive(self, response: "httpx.Response", start: int, found: Record) -> None:
        """Writes an answer after the first ``start`` bytes of the partial file."""
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._error("comes compressed, against the request", _BROWSER)
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
        shown_whole = found.length is not None or answers.has_end(response)
        if not shown_whole and self.sha256 is None:
            log.warning(
                "The server of %s does not say where the file ends: it may be cut off "
                "after %s bytes; give --sha256 to check it.",
                self.title,
                f"{size:,}",
            )

    def _copy(
        self, response: "httpx.Response", file: BinaryIO, start: int, found: Record
    ) -> int:
        """Copies the answer to the file; returns the size of the file at the end."""
        size = last = start
        self.patience.renew()
        bar = Progress(
            desc=found.name[:40],
            initial=start,
            total=found.length,
            unit="B",
            unit_scale=True,
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
                if size - last >= SLOWEST * PATIENCE:
                    last = size
                    self.patience.renew()
        if self.patience.over:  # the end may be ours, and not the file's
            raise self._too_slow()
        return size

    def _finish(self, found: Record) -> Path:
        """Checks the complete file, and gives it its name."""
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
                raise self._error("is empty", "check the link")
            if self.sha256 not in (None, digest):
                self.shelf.drop_partial()
                raise self._error(
                    f"has the SHA-256 {digest} instead of {self.sha256}",
                    "check both, and the file behind the link",
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
            f"is a web page{answers.title(page)} instead of a file",
            f"the page may ask for a login, or a quota may be used up: {_BROWSER}",
        )

    def _too_slow(self) -> StylePrompterError:
        return self._error(f"sends less than {SLOWEST:g} bytes a second", _AGAIN)

    def _too_large(self, what: str) -> StylePrompterError:
        return self._error(
            f"{what}, but the limit is {MAX_SIZE / 2**30:g} GiB", _BROWSER
        )


def _target(response: "httpx.Response") -> "httpx.URL":
    """Returns the address that an answer redirects to."""
    return response.url.join(response.headers["Location"])


def _is_spoken(url: "httpx.URL") -> bool:
    """Returns whether a URL uses https, or http on this machine."""
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
            "A link instead of a file needs the extra `download`: install it with "
            "`pip install 'styleprompter_jax[download]'`, or name a file."
        ) from error
    return httpx
