"""`styleprompter push` against a server on the loopback: files, card, refusals."""

import json
import re
import shutil
from pathlib import Path

import pytest
from hub_server import TOKEN, Repo
from test_hub import files as files
from test_hub import hub as hub

from styleprompter_jax.cli import main
from styleprompter_jax.core import fetch
from styleprompter_jax.evaluation.protocol import sha256
from styleprompter_jax.store import model_folder, places
from styleprompter_jax.store.card import Facts, make_card

# How the Hub's client calls its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def login(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def model(tiny_folder, tmp_path):
    return Path(shutil.copytree(tiny_folder, tmp_path / "run" / "model"))


def refused(capsys, *call) -> str:
    assert main(["push", *map(str, call)]) == 1
    text = capsys.readouterr().err.removeprefix("Error: ").strip()
    assert "\n" not in text.split("Error: ")[-1] and text.endswith(".")
    return text


def test_a_model_and_its_card(login, files, model, capsys):
    (model / "notes.txt").write_text("mine")
    assert main(["push", str(model), "hf://u/faces", "--private"]) == 0
    repo = login.repos["u/faces"]
    found = repo.files()
    assert repo.private
    assert found.keys() == {*files, "README.md", ".gitattributes"}
    assert all(found[name] == data for name, data in files.items())
    (name,) = re.findall(r"^(\S+) holds the model", capsys.readouterr().out)
    assert name == f"hf://u/faces@{repo.resolve('main')}"
    assert model_folder.load_model(name)[2].keys() == {"smile", "hat"}
    card = found["README.md"].decode()
    assert card.startswith("---\nlibrary_name: styleprompter_jax\nlicense: unknown\n")
    assert 'sp.load("hf://u/faces")' in card and "| smile | 3 | a test |" in card
    assert "Not stated" in card and str(model.parent) not in card


def test_into_a_folder_beside_other_models(login, model):
    there = {
        "directions.safetensors": b"other",
        "a/b/discriminator.safetensors": b"old",
    }
    repo = login.repos["u/zoo"] = Repo(there)
    (model / "directions.safetensors").unlink()
    assert main(["push", str(model), "hf://u/zoo/a/b"]) == 0
    assert repo.files().keys() == {
        *("directions.safetensors", "a/b/config.json", "a/b/model.safetensors"),
        "a/b/README.md",
    }
    assert len(repo.trees) == 2  # one commit


def test_whose_card_it_is(login, model):
    repo = login.repos["u/m"] = Repo({"README.md": b"by hand"})
    assert main(["push", str(model), "hf://u/m"]) == 0
    assert repo.files()["README.md"] == b"by hand"
    (model / "README.md").write_text("by hand, here")
    assert main(["push", str(model), "hf://u/m"]) == 0
    assert repo.files()["README.md"] == b"by hand, here"
    (model / "README.md").unlink()
    repo.commit({})
    for _ in range(2):  # one that push wrote is replaced
        assert main(["push", str(model), "hf://u/m"]) == 0
    repo.commit(repo.files() | {"README.md": repo.files()["README.md"] + b"?"})
    assert main(["push", str(model), "hf://u/m"]) == 0
    assert not repo.files()["README.md"].endswith(b"?")


def metrics_of(model) -> str:
    """Figures as `evaluate` writes them."""
    digest = {model_folder.MODEL: sha256(model / model_folder.MODEL)}
    images = {"data": "avatars/64", "split": "test", "count": 1000}
    return json.dumps({
        "protocol": {"model": {"sha256": digest}, "images": images},
        "unquantised": {"w_plus": {"psnr": 27.416}, "refined": {"psnr": None}},
    })  # fmt: skip


def test_figures_in_a_bucket(login, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "m.json").write_text(metrics_of(model))
    (tmp_path / "empty.json").write_text("{}")
    monkeypatch.setattr(fetch, "_fetch", lambda address: tmp_path / address.name)
    call = ["push", str(model), "hf://u/m", "--metrics"]
    assert main([*call, "gs://mine/m.json"]) == 0
    assert "| psnr | 27.42 | - |" in login.repos["u/m"].files()["README.md"].decode()
    # Its messages name the file as the user did: pathlib makes one slash of two.
    assert "gs:/mine" not in refused(capsys, *call[1:], "gs://mine/empty.json")


def test_a_card_by_hand_takes_no_figures(login, model, capsys, tmp_path):
    (model / "README.md").write_text("by hand")
    text = refused(capsys, model, "hf://u/m", "--metrics", tmp_path / "none.json")
    assert f"{model / 'README.md'} is the model's card" in text
    assert "remove README.md, or leave out --metrics" in text and not login.repos


def test_what_the_card_knows(login, model):
    record = {
        "stage": "smart",
        "data": {"name": "avatars/64", "path": "/home/me/secret"},
        "init_from": "hf://u/start",
        "sources": {"hf://u/start": "hf://u/start@" + 40 * "a"},
        "total_steps": 12,
    }
    (model.parent / "config.json").write_text(json.dumps(record))
    (model / "metrics.json").write_text(metrics_of(model))
    assert main(["push", str(model), "hf://u/m"]) == 0
    card = login.repos["u/m"].files()["README.md"].decode()
    assert "license: cc-by-4.0" in card and "Personas by Draftbit" in card
    assert "| stage | smart |" in card and "avatars/64" in card
    assert "hf://u/start@aaaa" in card and "secret" not in card
    assert "1,000 images of avatars/64, split test" in card
    assert "| metric | w_plus | refined |" in card and "| psnr | 27.42 | - |" in card


def test_no_card_names_a_bucket(login, model, monkeypatch):
    """The copy of a model in a bucket is in the cache, here in ``model``."""
    record = {"stage": "smart", "data": {"name": "avatars/64"}}
    record |= {"init_from": "gs://secret/start"}
    (model.parent / "config.json").write_text(json.dumps(record))
    monkeypatch.setattr(places, "local_copy", lambda *_: model)
    for kind in ("gs", "s3"):
        assert main(["push", f"{kind}://secret/m", "hf://u/m"]) == 0
        card = login.repos["u/m"].files()["README.md"].decode()
        assert "| stage | smart |" in card and "secret" not in card


def test_the_bundled_model_names_its_artwork(login):
    assert main(["push", "avatars64", "hf://u/avatars"]) == 0
    card = login.repos["u/avatars"].files()["README.md"].decode()
    assert "license: cc-by-4.0" in card and "https://draftbit.com/" in card
    assert "The same as `avatars64`" in card

    def words(file):
        return file.read_text().split()

    notice = " ".join(words(ROOT / "NOTICE"))
    told = " ".join(words(model_folder.BUNDLED / "avatars64" / "NOTICE"))
    for part in ("Title: Personas", "cropped to the head"):
        start = told.index(part)
        assert told[start : start + 230] in notice


def test_what_is_refused(login, model, capsys, tmp_path, monkeypatch):
    login.repos["u/public"] = Repo()
    text = refused(capsys, model, "hf://u/public", "--private")
    assert "exists and is public" in text
    assert len(login.repos["u/public"].trees) == 1
    assert "not a name on the Hub" in refused(capsys, model, "s3://u/m")
    assert "names a commit" in refused(capsys, model, "hf://u/m@" + 40 * "a")
    assert "no revision 'gone'" in refused(capsys, model, "hf://u/public@gone")
    assert "omit @new" in refused(capsys, model, "hf://u/m@new")
    assert "There is no model" in refused(capsys, tmp_path / "none", "hf://u/m")
    assert "refuses access" in refused(capsys, model, "hf://someone/else")
    (model / "metrics.json").write_text("{}")
    assert "is not a metrics.json of" in refused(capsys, model, "hf://u/m")
    other = {"protocol": {"model": {"sha256": {"model.safetensors": "0"}}}}
    other["protocol"]["images"] = {"count": 1}
    (tmp_path / "m.json").write_text(json.dumps(other | {"unquantised": {}}))
    text = refused(capsys, model, "hf://u/m", "--metrics", tmp_path / "m.json")
    assert "belongs to another model than" in text
    (model / "metrics.json").unlink()
    (model / model_folder.MODEL).write_bytes(b"damaged")
    assert "cannot be read" in refused(capsys, model, "hf://u/m")
    assert "u/m" not in login.repos


@pytest.mark.parametrize("fault", ["/preupload/", "/objects/", "/commit/", "/api/"])
def test_what_breaks_amid_a_push(login, model, capsys, fault):
    repo = login.repos["u/m"] = Repo({"x": b"x"})
    login.faults[fault] = 500
    text = refused(capsys, model, "hf://u/m")
    assert "hf://u/m failed at http://127.0.0.1" in text and "500" in text
    assert list(repo.files()) == ["x"]


def test_without_a_token(hub, model, capsys):
    text = refused(capsys, model, "hf://u/m")
    assert "hf auth login" in text and not hub.repos


def test_texts_stay_in_their_cells():
    name = "a|b\n# x <script> ![x](http://x) `"
    card = make_card(
        Facts("hf://u/m", "", [("generator", 64, 1)], 8, [(name, 1, name)])
    )
    (row,) = [line for line in card.splitlines() if line.startswith("| a")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert not re.search(r"(?<!\\)[<`\[!#]", row)
