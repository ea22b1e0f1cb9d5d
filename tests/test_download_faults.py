"""Servers that send something else than the file of a link, or too slowly."""

import gzip
import time
import tracemalloc

import pytest
from link_server import DATA, File, left, refused

from styleprompter_jax.convert.links import download
from styleprompter_jax.convert.links.download import fetch


@pytest.mark.parametrize(
    ("file", "text"),
    {
        "page": (
            File(
                b"<p>Sorry<title>Quota\n exceeded</title>",
                headers={"Content-Type": "text/html; charset=utf-8"},
            ),
            r"a web page \('Quota exceeded'\) instead of a file",
        ),
        "hidden page": (File(b"\n <!DOCTYPE html><html>"), "a web page instead"),
        "empty": (File(b""), "is empty"),
        "login": (File(status=401), "asks for a login.*401"),
        "forbidden": (File(status=403), "without a login.*403"),
        "missing": (File(status=404), "has no such file.*404"),
        "gone": (File(status=410), "any more.*410"),
        "too many": (File(status=429), "too many requests.*429"),
        "broken": (File(status=500), "fails: try again later.*500"),
        "no redirect": (File(status=302), "fails.*302"),
        "part": (File(b"x", status=206), "fails.*206"),
        "too large": (
            File(b"x", headers={"Content-Length": "9000000000"}),
            "has 9,000,000,000 bytes, but the limit is 8 GiB",
        ),
        "compressed": (
            File(b"x", headers={"Content-Encoding": "gzip"}),
            "comes compressed",
        ),
        "short": (
            File(b"x" * 10, etag="", headers={"Content-Length": "20"}),
            "was interrupted",
        ),
        "chunked and cut": (
            File(
                b"ff\r\nabc",
                etag="",
                headers={"Transfer-Encoding": "chunked", "Content-Length": None},
            ),
            "was interrupted",
        ),
    }.values(),
)
def test_what_is_no_file_leaves_nothing(links, file, text):
    links.files["/x.pt"] = file
    refused(f"{links.url}/x.pt", text)
    assert not left()


def test_without_an_end(links, monkeypatch):
    monkeypatch.setattr(download, "MAX_SIZE", 2**20)
    links.files["/x.pt"] = File(endless=True)
    refused(f"{links.url}/x.pt", "does not end, but the limit is .* GiB")
    assert not left()


def test_slow_servers(links, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    links.files["/silent.pt"] = File(DATA, wait=2)
    refused(f"{links.url}/silent.pt", r"sent nothing for 0.3 seconds")
    assert not left()
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    links.files["/slow.pt"] = File(DATA, wait=0.05)
    refused(f"{links.url}/slow.pt", "less than 1000 bytes a second")
    assert left() == ["file.partial", "partial.json"]


@pytest.mark.parametrize(
    "file",
    [
        File(b"<" * 10_000, headers={"Content-Type": "text/html"}, wait=0.05),
        File(headless=True),
        File(status=302, headers={"Location": "/x.pt"}, wait=0.05),
        # Nobody but the program ends this file: it must not pass for a whole one.
        File(DATA, etag="", headers={"Content-Length": None}, wait=0.05),
        # A length of a chunk that never ends.
        File(b"0" * 10_000, headers={"Transfer-Encoding": "chunked"}, wait=0.05),
    ],
    ids=["page", "headers", "redirects", "no length", "chunk"],
)
def test_servers_that_drip(links, monkeypatch, file):
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    monkeypatch.setattr(download, "REDIRECTS", 10**6)
    if "Transfer-Encoding" in file.headers:
        file.headers["Content-Length"] = None
    links.files["/x.pt"] = file
    since = time.monotonic()
    refused(f"{links.url}/x.pt", "less than 1000 bytes a second|is a web page")
    assert time.monotonic() - since < 5


def test_compressed_pages_are_not_unpacked(links):
    html = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    links.files["/x.pt"] = File(gzip.compress(bytes(2**25)), headers=html)
    tracemalloc.start()
    try:
        refused(f"{links.url}/x.pt", "is a web page")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_redirects(links):
    links.files["/x.pt"] = File(DATA)
    links.files["/here"] = File(status=302, headers={"Location": "/x.pt"})
    assert fetch(f"{links.url}/here").read_bytes() == DATA
    links.files["/loop"] = File(status=301, headers={"Location": "/loop"})
    refused(f"{links.url}/loop", "redirects more than 10 times")
    for target in (
        "https://example.com/x",
        "http://example.com/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//evil@example.com/x",
        "http://169.254.169.254/meta",
        "http://127.0.0.1.example.com/x",
    ):
        links.files["/away"] = File(status=307, headers={"Location": target})
        refused(f"{links.url}/away", "redirects from http to .*does not follow")
    for target in (
        *("data:,x", "javascript:x", "http://[::x/", "http://xn--/"),
        "/" + "a" * 70_000,
    ):
        links.files["/bad"] = File(status=308, headers={"Location": target})
        message = refused(f"{links.url}/bad", "redirects .*in a browser")
        assert "correct the link" not in message
