"""Models on the Hub, against a server on the loopback: fetched, kept, refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hub_server import TOKEN, Hub, Repo
from huggingface_hub import constants

import styleprompter_jax as sp
from styleprompter_jax.cli import main
from styleprompter_jax.configs import tiny
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.editing.latents import Latents
from styleprompter_jax.store import hub as hub_names
from styleprompter_jax.store import network_folder
from styleprompter_jax.store.model_folder import PARTS, load_model
from styleprompter_jax.store.places import data_name, local_folder, pin, public_name
from styleprompter_jax.training import loop
from styleprompter_jax.training.run import pinning
from styleprompter_jax.training.run import workdir as folders

ROOT = Path(__file__).parents[1]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server for the Hub's client in this process, with an empty cache."""
    with Hub() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        # Xet is another protocol with other servers: the tests use LFS.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # The client tries again for half a minute.
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


@pytest.fixture
def files(tiny_folder):
    return {file.name: file.read_bytes() for file in tiny_folder.iterdir()}


def fetched(hub):
    """The names of the files whose content was sent, without folders."""
    names, objects = {}, "/objects/"
    for repo in hub.repos.values():
        names |= {data: file for file, data in repo.files().items()}
    paths = [
        path
        for method, path in hub.calls
        if method == "GET" and ("/resolve/" in path or path.startswith(objects))
    ]
    paths = [
        names[hub.objects[p.removeprefix(objects)]] if p.startswith(objects) else p
        for p in paths
    ]
    return sorted(path.split("/")[-1] for path in paths)


def test_only_the_model_is_fetched_and_once(hub, files, tiny_folder, tmp_path):
    more = {"README.md": b"a card", "pytorch_model.bin": b"what runs", "a/b.py": b"too"}
    deep = {f"a b/c/{name}": data for name, data in files.items()}
    hub.repos["u/faces"] = Repo(files | more | deep)
    (commit,) = hub.repos["u/faces"].trees
    model = sp.load("hf://u/faces")
    assert fetched(hub) == sorted(files)
    assert model.source == f"hf://u/faces@{commit}" == public_name(model.source)
    assert public_name("/home/me/faces") == "faces"
    assert data_name(str(tmp_path)) == tmp_path.name
    assert data_name("avatars/64") == "avatars/64"
    np.testing.assert_equal(
        load_model("hf://u/faces/a b/c")[1], load_model(tiny_folder)[1]
    )
    hub.calls.clear()
    assert sp.load("hf://u/faces").directions.keys() == model.directions.keys()
    assert [method for method, _ in hub.calls] == ["HEAD"]  # which commit is it now?
    hub.calls.clear()
    sp.load(model.source)
    sp.load(Path("hf://u/faces@" + commit))  # pathlib leaves one slash
    assert not hub.calls


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", "feature%2Fx", "COMMIT"])
def test_revisions(hub, files, revision):
    repo = hub.repos["u/faces"] = Repo(files)
    (commit,) = repo.trees
    for ref in ("v1", "refs/pr/1", "feature/x"):
        repo.refs[ref] = commit
    repo.commit({"README.md": b"the model is gone from main"})
    revision = revision.replace("COMMIT", commit)
    assert pin(f"hf://u/faces@{revision}") == f"hf://u/faces@{commit}"
    folder = local_folder(f"hf://u/faces@{revision}")
    assert {file.name for file in folder.iterdir()} == files.keys()


def test_what_was_loaded_loads_without_a_network(hub, files):
    hub.repos["u/faces"] = Repo(files)
    source = sp.load("hf://u/faces").source
    for fault in (500, 503, 401, 429):
        hub.faults["u/faces"] = fault
        assert pin("hf://u/faces") == source
    hub.__exit__()  # nobody listens
    assert sp.load("hf://u/faces").source == source


def test_offline_in_a_process_of_its_own(files, tmp_path):
    """The Hub's settings are read from the environment, as its client does."""
    code = "import sys; from styleprompter_jax.store.places import *; "
    code += "print(local_folder(pin(sys.argv[1])))"

    def call(**env):
        env = os.environ | {"HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN} | env
        command = [sys.executable, "-W", "error", "-c", code, "hf://u/secret/x"]
        return subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True
        )

    with Hub() as server:
        server.repos["u/secret"] = Repo(
            {f"x/{name}": data for name, data in files.items()}, private=True
        )
        first = call(HF_ENDPOINT=server.url)
        assert first.returncode == 0, first.stderr
    again = call(HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout
    folder = Path(first.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    (folder / "directions.safetensors").unlink()  # as if it had been interrupted
    partial = call(HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1")
    assert "not in the Hub's cache, and HF_HUB_OFFLINE is set" in partial.stderr


def message(name):
    with pytest.raises(StylePrompterError) as caught:
        load_model(name)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("name", "text"),
    {
        "u/gone": "no model u/gone at .*, or it is private",
        "u/secret": "or it is private.*hf auth login.*HF_TOKEN",
        "u/gated": "the consent of its owner",
        "u/faces@v9": "no revision 'v9'",
        "u/faces@" + 40 * "a": "no revision 'aaaa",
        "u/faces/deep/er": "no model in its folder 'deep/er'",
        "u/empty": "no model at its top",
        "u/half": "an incomplete upload",
        "u/other": "comes from another program",
        "u/list": "comes from another program",
        "u/large": "config.json has 2,000,000 bytes, and the limit is 1,048,576",
        "u/later": "has version 99.*update styleprompter_jax.*copy of hf://u/later@",
    }.items(),
)
def test_what_is_not_there(hub, files, name, text):
    config = files["config.json"]
    hub.repos |= {
        "u/faces": Repo(files),
        "u/secret": Repo(files, private=True),
        "u/gated": Repo(files, gated=True),
        "u/empty": Repo(),
        "u/half": Repo({"config.json": config, "directions.safetensors": b"small"}),
        "u/other": Repo(files | {"config.json": b'{"model_type": "bert"}'}),
        "u/list": Repo(files | {"config.json": b"[]"}),
        "u/large": Repo(files | {"config.json": b" " * 2_000_000}),
        "u/later": Repo(files | {"config.json": b'{"version": 99}'}),
    }
    assert re.search(text, message(f"hf://{name}"))
    # Of a stranger's model nothing large.
    assert "model.safetensors" not in fetched(hub)
    assert name != "u/large" or not fetched(hub)


def test_a_large_config_in_place_of_a_known_one(hub, files):
    repo = hub.repos["u/faces"] = Repo(files)
    sp.load("hf://u/faces")
    repo.commit(files | {"config.json": b" " * 2_000_000})
    hub.calls.clear()
    assert "has 2,000,000 bytes" in message("hf://u/faces")
    assert not fetched(hub)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (404, "has no hf://u/faces .status 404.: check the name, and HF_ENDPOINT"),
        (400, "refuses the request for hf://u/faces .status 400.: check the name"),
        (429, "hf://u/faces failed at .* .status 429.: try again later"),
        (500, "hf://u/faces failed at .* .status 500.: try again later"),
        (204, "does not answer as the Hub does .*check HF_ENDPOINT"),
        (403, "refuses access to u/faces .*hf auth login"),
    ],
)
def test_a_server_that_was_reached(hub, files, fault, text):
    hub.repos["u/faces"] = Repo(files)
    hub.faults["/resolve/"] = fault
    found = message("hf://u/faces")
    assert re.search(text, found) and "network connection" not in found


def test_no_network_is_said_at_once(hub, monkeypatch):
    """The Hub's client would try again for half a minute."""
    slept = []
    hub.__exit__()
    monkeypatch.setattr("time.sleep", slept.append)
    assert re.search("cannot be reached .*network connection", message("hf://u/m"))
    assert not slept


@pytest.mark.parametrize("endpoint", ["garbage", "http://", "", "http://[", "ftp://h"])
def test_an_endpoint_that_is_none(hub, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert f"HF_ENDPOINT is {endpoint!r} instead" in message("hf://u/m")


def test_names_that_are_almost_right(hub, monkeypatch, tmp_path):
    assert "main instead of refs/heads/main" in message("hf://u/m@refs/heads/main")
    assert "drives such as 'C:'" in message("hf://u/m/C:")
    monkeypatch.chdir(tmp_path)
    for find in (pin, local_folder):
        with pytest.raises(StylePrompterError, match=r"no folder .*write hf://USER"):
            find("hf:u/m")
    Path("hf:u").mkdir()
    assert local_folder("hf:u") == Path("hf:u")
    assert not hub.calls


@pytest.mark.parametrize(
    "name",
    [
        *("hf://", "hf://u", "hf:///u/m", "hf://u/--", "hf://u/m..x", "hf://ü/m"),
        *("hf://u/m@", "hf://u/m@/x", "hf://u/m@a b", "hf://u/m@%00", "hf://u/m@a\nb"),
        *("hf://u/m@..%2F..%2Fx", "hf://u/m@%2Fetc", "hf://u/m@a%2F", "hf://u/m@a\\b"),
        *("hf://u/m/../x", "hf://u/m/./x", "hf://u/m/a//b", "hf://u/m/a\\b"),
        *("hf://u/m/a\0b", "hf://u/m/\x1b[2J", "hf://u:t@h/m", f"hf://u/{99 * 'm'}"),
        *("gs://b/m", "s3://b/m", "http://h/m", "file:///e\x07", "HTTPS://hf.co/u/m"),
    ],
)
def test_names_that_are_none(hub, name, tmp_path):
    for find in (pin, local_folder):
        with pytest.raises(StylePrompterError) as caught:
            find(name)
        assert re.search("hf://USER/MODEL|bucket|names no|path", str(caught.value))
        assert str(caught.value).isprintable()
    assert not hub.calls and not list(tmp_path.iterdir())


def test_names_are_written_as_they_are_read():
    for text in ("u/m", "u/m@v1.0+x", "u/m@a%2Fb/c d", "u/m@refs/pr/1/c", "u/m/ä@b"):
        assert str(hub_names.parse(f"hf://{text}")) == f"hf://{text}"
    assert hub_names.parse("hf://u/m@a%2Fb/c/") == hub_names.HubName("u/m", "a/b", "c")


@pytest.mark.parametrize("fault", ["cut", 403, 500])
def test_what_breaks_amid_a_fetch(hub, files, fault):
    repo = hub.repos["u/faces"] = Repo(files)
    hub.faults["/objects/"] = fault
    found = message("hf://u/faces")
    assert "hf://u/faces" in found or "u/faces" in found
    hub.faults.clear()
    assert sp.load("hf://u/faces").source == f"hf://u/faces@{repo.resolve('main')}"


@pytest.mark.parametrize("file", PARTS[:3])
def test_a_damaged_copy_says_how_to_fetch_it_anew(hub, files, file):
    hub.repos["u/faces"] = Repo(files)
    copy = local_folder("hf://u/faces") / file
    good = copy.read_bytes()
    copy.resolve().write_bytes(good[: len(good) // 2])
    kept = Path(constants.HF_HUB_CACHE) / "models--u--faces"
    assert re.search(f"{kept}.* to download it again", message("hf://u/faces"))
    os.rename(kept, kept.with_name("old"))
    assert load_model("hf://u/faces")[2].keys() == {"smile", "hat"}


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StylePrompterError, match="need the extra `hub`"):
        sp.load("hf://u/m")


def test_results_name_the_commit(hub, files, tmp_path, capsys):
    repo = hub.repos["u/faces"] = Repo({f"a/{k}": v for k, v in files.items()})
    source = f"hf://u/faces@{repo.resolve('main')}/a"
    picture = ROOT / "colabs" / "pictures" / "faces"
    picture = str(sorted(picture.glob("*.png"))[0])
    out = tmp_path / "out"
    call = ["invert", "--model", "hf://u/faces/a", "--input", picture, "--no-refine"]
    assert main([*call, "--output", str(out)]) == 0
    assert len(Latents.load(out / "latents.npz")) == 1
    with np.load(out / "latents.npz") as kept:
        assert kept["source"] == source


def test_directions_are_kept_with_a_copy(hub, files, tmp_path, capsys):
    hub.repos["u/faces"] = Repo(files | {f"a/{k}": v for k, v in files.items()})
    local_folder("hf://u/faces/a")  # beside the other one in the cache
    call = ["directions", "--model", "hf://u/faces", "--method", "sefa", "--count", "9"]
    assert main(call) == 1
    assert "is on the Hub: name a folder for a copy" in capsys.readouterr().err
    copy = tmp_path / "copy"
    assert main([*call, "--output", str(copy)]) == 0
    copied = {path.name for path in copy.iterdir() if path.name[0] != "."}
    assert copied == {*files, "directions.png"}
    assert not any(path.is_symlink() for path in copy.iterdir())
    assert "sefa_0" in load_model(copy)[2]


def test_a_run_keeps_the_commit_that_it_began_with(hub, files, tmp_path, monkeypatch):
    repo = hub.repos["u/faces"] = Repo(files)
    config = tiny.get_config("encoder")
    config.init_from, config.loss.lpips_weights = "hf://u/faces", "models/lpips"
    first = f"hf://u/faces@{repo.resolve('main')}"
    pinned, sources = pinning.pin_models(config, {})
    assert pinned.init_from == first and sources == {"hf://u/faces": first}
    assert pinned.loss.lpips_weights == "models/lpips"
    assert config.init_from == "hf://u/faces"

    class Prepared(Exception):
        pass

    def prepare(config, per_device):
        raise Prepared(config.init_from)

    def train(config, workdir):
        """The model that a training would read."""
        with pytest.raises(Prepared) as caught:
            loop.train(config, workdir)
        return str(caught.value)

    monkeypatch.setattr(loop, "_prepare", prepare)
    record = folders.plain(config) | {pinning.SOURCES: sources}
    folders.write_config(tmp_path, record)
    repo.commit(files | {"README.md": b"a later one"})
    assert train(config, tmp_path) == first
    assert train(config, tmp_path / "other") != first
    config.init_from = "hf://u/faces@main"
    with pytest.raises(StylePrompterError, match="init_from"):
        loop.train(config, tmp_path)


def test_networks_too(hub, files, tmp_path, capsys):
    shapes = network_folder.NETWORKS["lpips_squeeze"].shapes()["params"]
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    folder = network_folder.save_network(tmp_path / "lpips", "lpips_squeeze", params)
    hub.repos["u/zoo"] = Repo(
        {f"lpips/{file.name}": file.read_bytes() for file in folder.iterdir()} | files
    )
    assert network_folder.network_name("hf://u/zoo/lpips") == "lpips_squeeze"
    _, variables = network_folder.load_network("hf://u/zoo/lpips", "lpips")
    np.testing.assert_equal(variables["params"], params)
    with pytest.raises(
        StylePrompterError, match="contains another model, but must contain ArcF"
    ):
        network_folder.load_network("hf://u/zoo", "arcface")
    with pytest.raises(StylePrompterError, match="is not the folder of a perc"):
        network_folder.network_name("hf://u/zoo")
    call = ["evaluate", "--model", "avatars64", "--data", "avatars", "--output"]
    assert main([*call, str(tmp_path / "out"), "--networks", "hf://u/zoo"]) == 1
    assert "hf://u/zoo@" in capsys.readouterr().err
    options = ["--networks", "hf://u/zoo/lpips", "--direction", "nose"]
    assert main([*call, str(tmp_path / "out"), *options]) == 1
    assert "nose" in capsys.readouterr().err
