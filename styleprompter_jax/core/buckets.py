"""Objects in buckets: gs:// of Google Cloud Storage, s3:// of S3 and compatible stores.

fsspec's clients do the work: gcsfs (the extra `gcs`) and s3fs (the extra `s3`). They
find credentials and the server in their usual places, and repeat requests that fail. An
object appears completely or not at all. A bucket has no renames and no locks. `create`
replaces them: if several writers call it, only one succeeds.
"""

import contextlib
import dataclasses
import errno
import functools
import io
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.paths import local_path, path_text, scheme

KINDS = {
    "gs": ("gcs", "log in with `gcloud auth application-default login`"),
    "s3": ("s3", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with aws"),
}
TOGETHER = 8  # transfers at the same time
_SMALL = 2**25  # bytes; only smaller files are read at once
_BLOCK, _PART = 2**20, 2**25  # bytes to read and to send at once of larger ones
# Errors of the local disk.
_LOCAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_FORM = re.compile(r"[A-Za-z0-9]+:/+([A-Za-z0-9][\w.-]{1,221}[A-Za-z0-9])(?:/(.*))?")


@dataclasses.dataclass(frozen=True)
class Address:
    """An object or a folder in a bucket; `str` gives gs://BUCKET/KEY.

    Attributes:
        kind: "gs" or "s3".
        bucket: the bucket's name.
        key: the key without slashes at its ends; "" means the whole bucket.
    """

    kind: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.kind}://{self.path}"

    def __truediv__(self, name: str) -> "Address":
        key = f"{self.key}/{name}" if self.key else name
        return dataclasses.replace(self, key=key)

    @property
    def path(self) -> str:
        """The form without the scheme, which the clients use."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Address | None":
        """The folder around it; None for a bucket."""
        if not self.key:
            return None
        return dataclasses.replace(self, key=self.key.rpartition("/")[0])


class Missing(StylePrompterError):
    """The object does not exist."""


class Object(NamedTuple):
    """An object's size in bytes, and a tag that changes with its content."""

    size: int
    tag: str


def in_bucket(path: str | os.PathLike) -> bool:
    """Returns whether a path begins with gs:// or s3://."""
    return scheme(path) in KINDS


def parse(path: str | os.PathLike) -> Address:
    """Parses gs://BUCKET/KEY or s3://BUCKET/KEY.

    Raises:
        StylePrompterError: if the text has another form.
    """
    text = path_text(path)
    found = _FORM.fullmatch(text)
    key = (found[2] or "").rstrip("/") if found else ""
    if not found or (key and not is_plain(key)):
        shown = text if text.isprintable() else ascii(text)
        raise StylePrompterError(
            f"{shown} is not an address in a bucket: write {scheme(path)}://BUCKET/"
            "FOLDER, with a bucket's name of 3 or more letters, and without '.', '..' "
            "and '\\'."
        )
    return Address(scheme(path), found[1], key)


def checked_path(path: str | os.PathLike) -> Path | str:
    """Returns `local_path` of a local path; returns an address in a bucket as text.

    Raises:
        StylePrompterError: as `local_place` or `parse`.
    """
    return str(parse(path)) if in_bucket(path) else local_place(path)


def local_place(path: str | os.PathLike) -> Path:
    """Returns `local_path` of a path that may be an address in a bucket, but is none.

    Raises:
        StylePrompterError: as `local_path`; also names the kinds of buckets.
    """
    if found := scheme(path):
        kinds = " or ".join(f"{kind}://" for kind in KINDS)
        raise StylePrompterError(
            f"{path_text(path)} is an address, and {found}:// does not work here: give "
            f"a local path, or an address in a bucket, which begins with {kinds}."
        )
    return local_path(path)


def listing(folder: Address) -> dict[str, Object]:
    """Returns all objects below a folder, sorted, by their names relative to it.

    It leaves out objects whose names could lead out of a local folder.

    Raises:
        StylePrompterError: if the bucket does not exist, or cannot be read.
    """
    files = _call(folder, "read", lambda fs: fs.find(folder.path, detail=True))
    start, found = f"{folder.path}/", {}
    for path, info in files.items():
        name = path.removeprefix(start)
        if path.startswith(start) and info["type"] == "file" and is_plain(name):
            found[name] = _object(info)
    return dict(sorted(found.items()))


def find(address: Address) -> Object | None:
    """Returns an object; None if it does not exist."""
    with contextlib.suppress(Missing):
        info = _call(address, "read", lambda fs: fs.info(address.path), missing=True)
        return _object(info) if info["type"] == "file" else None
    return None


def read(address: Address) -> bytes:
    """Returns the bytes of an object.

    Raises:
        Missing: if it does not exist.
        StylePrompterError: if it cannot be read.
    """
    return _call(address, "read", lambda fs: fs.cat_file(address.path), missing=True)


def download(address: Address, file: Path) -> None:
    """Writes an object to a local file; raises as `read`."""
    _call(
        address,
        "read",
        lambda fs: fs.get_file(address.path, os.fspath(file)),
        missing=True,
    )


class Reader(io.RawIOBase):
    """An object as a file that is read in parts; a part that is read is a request.

    Args:
        address: the object.
        size: its size in bytes.
    """

    def __init__(self, address: Address, size: int):
        super().__init__()
        self._address, self._size, self._place = address, size, 0

    def readable(self) -> bool:
        """Returns true."""
        return True

    def seekable(self) -> bool:
        """Returns true."""
        return True

    def tell(self) -> int:
        """Returns the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Changes the place of the next byte."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = start[whence] + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Reads the next bytes; raises as `read`."""
        place, path = self._place, self._address.path
        end = min(place + len(buffer), self._size)
        if end <= place:
            return 0
        content = _call(
            self._address,
            "read",
            lambda fs: fs.cat_file(path, start=place, end=end),
            missing=True,
        )
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def write(address: Address, content: bytes) -> None:
    """Writes an object; replaces an older one."""
    _call(address, "written", lambda fs: fs.pipe_file(address.path, content))


def upload(file: Path, address: Address, size: int) -> None:
    """Writes the first ``size`` bytes of a local file, which may grow meanwhile.

    An interrupted upload makes no object.

    Raises:
        FileNotFoundError: if the file is removed, or has fewer bytes.
        StylePrompterError: if the object cannot be written.
    """
    with open(file, "rb") as source:
        if size > _SMALL:
            whole = _call(
                address, "written", lambda fs: _stream(fs, source, address, size)
            )
        elif whole := len(content := source.read(size)) == size:
            write(address, content)
    if not whole:
        raise FileNotFoundError(file)


def _stream(fs: Any, source: BinaryIO, address: Address, size: int) -> bool:
    """Sends the first bytes of a file; returns false, and sends nothing, without them.

    The client's own function sends the whole file, also what it has grown by.
    """
    target, sent = fs.open(address.path, "wb", block_size=_PART), False
    try:
        while size and (block := source.read(min(size, _BLOCK))):
            target.write(block)
            size -= len(block)
        if not size:
            target.close()
            sent = True
    finally:
        if not sent:
            # Otherwise the client would make an object of what it has.
            with contextlib.suppress(Exception):
                target.discard()
            target.closed = True
    return sent


def create(address: Address, content: bytes) -> bool:
    """Writes a new object; returns false, and writes nothing, if it exists already.

    If the server's answer is lost, it may return false for an object that it made.
    """
    try:
        _call(
            address,
            "written",
            lambda fs: fs.pipe_file(address.path, content, mode="create"),
        )
    except FileExistsError:
        return False
    return True


def remove(addresses: Iterable[Address]) -> None:
    """Removes objects; ignores missing objects."""

    def one(address: Address) -> None:
        with contextlib.suppress(Missing):
            _call(address, "written", lambda fs: fs.rm_file(address.path), missing=True)

    each(one, addresses)


def each(work: Callable, items: Iterable) -> list:
    """Calls work(item) for each item, several at a time, and returns the results."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(work, items))


def _object(info: dict) -> Object:
    tags = ("ETag", "etag", "generation", "md5Hash")
    tag = next((str(info[key]) for key in tags if info.get(key)), "")
    return Object(int(info["size"]), tag)


def is_plain(name: str) -> bool:
    """Returns whether a name stays below a folder when it becomes a local path."""
    parts = name.split("/")
    unsafe = "\\:" if os.name == "nt" else "\\"
    return name.isprintable() and not any(
        part in ("", ".", "..") or set(part) & set(unsafe) for part in parts
    )


@functools.cache
def _client(kind: str) -> Any:
    extra = KINDS[kind][0]
    try:
        if kind == "s3":
            from s3fs import S3FileSystem as Client
        else:
            # Do not use gcsfs's own subclass: it asks another service for the kind of
            # each bucket, which takes a minute if that service cannot be reached.
            from gcsfs.core import GCSFileSystem as Client
    except ImportError as error:
        raise StylePrompterError(
            f"{kind}:// needs a client that is not installed: install it with "
            f"`pip install 'styleprompter_jax[{extra}]'`."
        ) from error
    # The loggers print tracebacks of errors that the clients also raise.
    for name in ("gcsfs", "s3fs", "aiobotocore", "botocore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    emulator = kind == "gs" and os.environ.get("STORAGE_EMULATOR_HOST")
    options = {"token": "anon"} if emulator else {}
    return Client(use_listings_cache=False, skip_instance_cache=True, **options)


def _call(address: Address, verb: str, work: Callable, missing: bool = False) -> Any:
    """Returns work(client); converts its errors to one sentence.

    It does not convert FileExistsError. With ``missing``, it raises Missing if the
    bucket exists and the object does not.
    """
    try:
        return work(_client(address.kind))
    except (StylePrompterError, FileExistsError):
        raise
    except FileNotFoundError as error:
        if missing and _exists(address):
            raise Missing(f"There is no object {address}.") from error
        raise StylePrompterError(
            f"There is no bucket {address.kind}://{address.bucket}: check the name, or "
            "make the bucket."
        ) from error
    except Exception as error:  # from HTTP, the clients, or their authentication
        text = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, OSError) and error.errno in _LOCAL:
            raise StylePrompterError(
                f"{address} cannot be {verb}, because of the local disk ({text}): free "
                "space there, and try again."
            ) from error
        if _is_refusal(error):
            raise StylePrompterError(
                f"{address} cannot be {verb}, because access is refused ({text}): "
                f"{KINDS[address.kind][1]}, with an account that may do this."
            ) from error
        raise StylePrompterError(
            f"{address} cannot be {verb} ({text}): check the network and the address, "
            "and try again."
        ) from error


def _exists(address: Address) -> bool:
    """Returns whether the bucket of a missing object exists."""
    try:
        # Nothing is there, so nothing is listed.
        _client(address.kind).find(f"{address.bucket}/.styleprompter-none/")
    except FileNotFoundError:
        return False
    except Exception:  # such as no right to list it: then the object is missing
        return True
    return True


def _is_refusal(error: BaseException) -> bool:
    """Returns whether an error is about credentials or rights."""
    names = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
    return (
        (isinstance(error, PermissionError) and error.filename is None)
        or type(error).__name__ in names
        or getattr(error, "code", None) in (401, 403, "401", "403")
        or str(error).startswith("Forbidden")  # gcsfs
    )
