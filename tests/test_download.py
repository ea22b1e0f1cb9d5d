"""Links instead of files: fetched once, gone on with, kept in the cache."""

import collections
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from link_server import DATA, File, left, refused

from styleprompter_jax.cli import main
from styleprompter_jax.convert.links import download, drive
from styleprompter_jax.convert.links.download import fetch
from styleprompter_jax.core.paths import cache_folder
from styleprompter_jax.store.model_folder import load_directions

ROOT = Path(__file__).parents[1]
SUM = hashlib.sha256(DATA).hexdigest()


def test_a_file_is_fetched_once(links):
    links.files["/a/good.pt"] = File(DATA)
    path = fetch(f"{links.url}/a/good.pt", SUM)
    assert path.read_bytes() == DATA and path.name == "good.pt"
    assert left() == ["good.pt", "record.json"]
    assert fetch(f"{links.url}/a/good.pt", SUM) == path
    assert len(links.calls) == 1  # the sum says it all
    assert fetch(f"{links.url}/a/good.pt") == path
    assert links.calls[1][1:] == [304, 0]
    links.__exit__()
    assert fetch(f"{links.url}/a/good.pt") == path  # without a network


@pytest.mark.parametrize(
    "file",
    [
        File(DATA, etag='W/"weak"'),
        File(DATA, etag="", modified="Thu, 01 Jan 2026 00:00:00 GMT"),
        File(DATA, etag=""),
    ],
    ids=["weak", "date", "length"],
)
def test_what_says_that_a_file_is_the_same(links, file):
    links.files["/x.pt"] = file
    path = fetch(f"{links.url}/x.pt")
    path.touch()
    before = path.stat().st_mtime_ns
    assert fetch(f"{links.url}/x.pt").stat().st_mtime_ns == before
    file.data, file.etag = DATA + b"more", file.etag and 'W/"other"'
    file.modified = file.modified.replace("01 Jan", "02 Jan")
    assert fetch(f"{links.url}/x.pt").read_bytes() == file.data


def test_a_damaged_copy_is_fetched_anew(links):
    links.files["/x.pt"] = File(DATA)
    path = fetch(f"{links.url}/x.pt")
    path.write_bytes(DATA[:-1] + b"x")
    assert fetch(f"{links.url}/x.pt").read_bytes() == DATA
    outside = path.parents[2] / "secret"
    outside.write_bytes(DATA)
    record = path.parent / "record.json"
    record.write_text(record.read_text().replace("x.pt", "../../secret"))
    assert fetch(f"{links.url}/x.pt", SUM).name == "x.pt"


def test_an_interrupted_download_goes_on(links):
    file = links.files["/x.pt"] = File(DATA, cut=100_000)
    refused(f"{links.url}/x.pt", "was interrupted .*try again")
    assert left() == ["file.partial", "partial.json"]
    file.cut = 50_000
    refused(f"{links.url}/x.pt", "was interrupted")
    file.cut = None
    assert fetch(f"{links.url}/x.pt", SUM).read_bytes() == DATA
    assert [call[1:] for call in links.calls] == [
        [200, 100_000],
        [206, 50_000],
        [206, len(DATA) - 150_000],
    ]
    assert left() == ["record.json", "x.pt"]


@pytest.mark.parametrize(
    "change",
    [
        dict(etag='"2"'),
        dict(etag='"2"', careless=True),
        dict(ranges=False),
        dict(data=DATA[:10], careless=True),
        dict(part={"Content-Range": "bytes 0-9/10"}),
        dict(part={"Content-Range": "bytes 100000-200000/300000"}),
        dict(part={"Content-Range": None}),
    ],
    ids=["changed", "careless", "whole", "shorter", "other", "longer", "silent"],
)
def test_what_cannot_go_on_begins_anew(links, change):
    file = links.files["/x.pt"] = File(DATA, cut=100_000)
    refused(f"{links.url}/x.pt", "was interrupted")
    file.cut, file.data = None, bytes(reversed(DATA))
    for name, value in change.items():
        setattr(file, name, value)
    assert fetch(f"{links.url}/x.pt").read_bytes() == file.data
    assert left() == ["record.json", "x.pt"]


@pytest.mark.parametrize("modified", ["Tue, 02 Jan 2024 00:00:00 GMT", ""])
def test_the_date_says_that_the_rest_is_of_another_version(links, modified):
    """A server ignores If-Range, and has no ETag."""
    day = "Mon, 01 Jan 2024 00:00:00 GMT"
    file = links.files["/x.pt"] = File(DATA, etag="", modified=day, cut=100_000)
    refused(f"{links.url}/x.pt", "was interrupted")
    file.cut = 50_000
    refused(f"{links.url}/x.pt", "was interrupted")
    assert links.calls[1][1:] == [206, 50_000]  # the same version goes on
    file.cut, file.careless, file.modified = None, True, modified
    file.data = bytes(reversed(DATA))
    assert fetch(f"{links.url}/x.pt").read_bytes() == file.data


def test_without_a_validator_nothing_is_gone_on_with(links):
    file = links.files["/x.pt"] = File(DATA, cut=1000)
    refused(f"{links.url}/x.pt", "was interrupted")
    (record,) = cache_folder("downloads").glob("*/partial.json")
    record.write_text(record.read_text().replace(r'"\"1\""', '""'))
    file.etag, file.careless = "", True
    refused(f"{links.url}/x.pt", "was interrupted")
    assert [call[1] for call in links.calls] == [200, 200]
    assert not left()


def test_a_file_without_an_end_may_be_cut_off(links, caplog):
    """Its server sends neither a length nor chunks."""
    headers = {"Content-Length": None}
    links.files["/x.pt"] = File(DATA, etag="", headers=headers, cut=1000)
    assert fetch(f"{links.url}/x.pt").read_bytes() == DATA[:1000]
    (message,) = caplog.messages
    assert "may be cut off after 1,000 bytes; give --sha256" in message
    caplog.clear()
    fetch(f"{links.url}/x.pt", hashlib.sha256(DATA[:1000]).hexdigest())
    links.files["/y.pt"] = File(DATA)
    chunks = {"Transfer-Encoding": "chunked"} | headers
    links.files["/z.pt"] = File(b"1\r\nx\r\n0\r\n\r\n", headers=chunks)
    fetch(f"{links.url}/y.pt")
    fetch(f"{links.url}/z.pt")
    assert not caplog.messages


def test_a_wrong_sum_leaves_nothing(links):
    links.files["/x.pt"] = File(DATA)
    message = refused(f"{links.url}/x.pt", "has the SHA-256", "0" * 64)
    assert SUM in message and "0" * 64 in message
    assert not left()
    fetch(f"{links.url}/x.pt")
    refused(f"{links.url}/x.pt", "has the SHA-256", "0" * 64)


def test_no_network(links):
    links.__exit__()
    refused(f"{links.url}/x.pt", "cannot be reached .*refused")
    assert not left()


@pytest.mark.parametrize(
    "link",
    [
        *("http://example.com/x.pt", "ftp://h/x", "file:///etc/passwd", "hf://u/m"),
        *("gs://b/x.pt", "https://", "https:///x", "https://[::x/y", "https://a:b/"),
        *("http://10.0.0.1/x", "http://localhost.example.com/x", "https://\x1b[2J/"),
        *("https://a b/\n", "https://" + "a" * 70 + ".com:99999/"),
    ],
)
def test_links_that_are_none(links, link):
    refused(link, "is not an https:// link|is not a valid link|an invalid address")
    assert not left()


def test_passwords_are_not_told(links):
    link = links.url.replace("//", "//user:secret@") + "/x.pt?key=secret"
    assert "secret" not in refused(link, "has no such file")
    links.files["/x.pt"] = File(DATA)
    kept = fetch(link).with_name("record.json").read_text()
    assert "secret" not in kept and json.loads(kept)["name"] == "x.pt"


def test_google_drive(links, monkeypatch):
    name = "1AbcDEFghijKLM-_x"
    page = f'''<html><title>Google Drive - Virus scan warning</title>
        <form action="/search"><input type="hidden" name="q" value="x"></form>
        <form id="download-form" action="/download" method="get">
        <input type="submit" value="Download anyway"/>
        <input type="hidden" name="id" value="{name}">
        <input type="hidden" name="confirm" value="t">
        <input type="hidden" name="uuid" value="a&amp;b"></form>'''
    monkeypatch.setattr(drive, "DOWNLOAD", f"{links.url}/uc")
    html = {"Content-Type": "text/html"}
    links.files[f"/uc?export=download&id={name}"] = File(page.encode(), headers=html)
    named = {"Content-Disposition": 'attachment; filename="ffhq.pt"'}
    file = File(DATA, headers=named, cut=1000)
    links.files[f"/download?id={name}&confirm=t&uuid=a%26b"] = file
    link = f"https://drive.google.com/file/d/{name}/view?usp=sharing"
    refused(link, r"file/d/.* was interrupted")
    file.cut = None
    assert fetch(link, SUM).name == "ffhq.pt"
    assert links.calls[-1][1:] == [206, len(DATA) - 1000]

    links.files[f"/download?id={name}&confirm=t&uuid=a%26b"] = File(
        b"<html><title>Google Drive - Quota exceeded</title>", headers=html
    )
    other = f"https://drive.google.com/uc?id={name}"
    refused(other, "a web page .*Quota exceeded.* instead of a file")
    links.files["/page"] = File(page.encode(), headers=html)  # of no Drive
    refused(f"{links.url}/page", "a web page .*instead of a file")


def test_a_full_disk_leaves_nothing(links, monkeypatch):
    links.files["/x.pt"] = File(DATA)

    def full(self, response, file, start, found):
        file.write(b"x" * 1000)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download._Download, "_copy", full)
    refused(f"{links.url}/x.pt", "cannot be written .No space left.*XDG_CACHE_HOME")
    assert not left()


def test_a_disk_that_is_too_small_is_seen_before(links, monkeypatch):
    links.files["/x.pt"] = File(DATA, cut=1000)
    usage = collections.namedtuple("usage", "free")(len(DATA) - 1)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    refused(f"{links.url}/x.pt", "cannot be written .No space left.*XDG_CACHE_HOME")
    assert not left()


def test_a_cache_that_cannot_be_written(links, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused(f"{links.url}/x.pt", "cannot be written .*set XDG_CACHE_HOME")


def test_a_kill_amid_a_download(links):
    file = links.files["/x.pt"] = File(DATA[:4000], wait=0.01)
    code = "import sys; from styleprompter_jax.convert.links.download import fetch; "
    code += "fetch(sys.argv[1])"
    command = [sys.executable, "-c", code, f"{links.url}/x.pt"]
    process = subprocess.Popen(command, cwd=ROOT)
    while not (links.calls and links.calls[0][2] > 200):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    file.wait = 0
    assert fetch(f"{links.url}/x.pt").read_bytes() == file.data
    assert links.calls[1][1] == 206 and links.calls[1][2] < 4000
    assert left() == ["record.json", "x.pt"]


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    refused("https://example.com/x", "needs the extra `download`")


def test_two_fetch_one_file(links):
    """The second waits for the first one, and takes its file."""
    file = links.files["/x.pt"] = File(DATA[:800], wait=0.01)
    code = "import sys; from styleprompter_jax.convert.links.download import fetch; "
    code += "print(fetch(sys.argv[1]))"
    command = [sys.executable, "-c", code, f"{links.url}/x.pt"]
    options = dict(cwd=ROOT, stdout=subprocess.PIPE, text=True)
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    found = {process.communicate(timeout=60)[0] for process in both}
    assert len(found) == 1 and Path(found.pop().strip()).read_bytes() == file.data
    assert sorted(call[1] for call in links.calls) == [200, 304]


def test_convert_takes_links(links, tiny_folder, tmp_path, capsys):
    arrays = tmp_path / "age.npy"
    np.save(arrays, np.ones(16, np.float32))
    links.files["/a/age.npy"] = File(arrays.read_bytes())
    digest = hashlib.sha256(arrays.read_bytes()).hexdigest()
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    call = ["convert", f"{links.url}/a/age.npy?key=secret", str(model)]
    assert main([*call, "--sha256", digest.upper()]) == 0
    assert "age" in load_directions(model)
    assert "secret" not in "".join(capsys.readouterr())

    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").touch()
    asked = len(links.calls)
    assert main(["convert", f"{links.url}/a/age.npy", str(taken)]) == 1
    assert "exists" in capsys.readouterr().err and len(links.calls) == asked
    links.files["/odd.pt"] = File(b"no weights", headers={"Content-Length": "5"})
    assert main(["convert", f"{links.url}/odd.pt", str(tmp_path / "new")]) == 1
    message = capsys.readouterr().err
    assert f"a copy of {links.url}/odd.pt" in message and "download it again" in message
    for wrong in (
        ["convert", "x.pt", f"{links.url}/out"],
        ["convert", "--sha256", digest, "x.pt", "out"],
        ["convert", "--sha256", "abc", f"{links.url}/x", "out"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
