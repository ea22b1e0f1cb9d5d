"""File names in links and answers, and addresses of Google Drive."""

import pytest

from styleprompter_jax.convert.links import answers, drive
from styleprompter_jax.core.errors import StylePrompterError


@pytest.mark.parametrize(
    ("disposition", "link", "name"),
    [
        ("", "https://h/a/b.pt?x=1", "b.pt"),
        ("", "https://h/a%2Fb%5Cc%00.pt", "c.pt"),
        ("", "https://h/", "download"),
        ("", "https://h/..", "download"),
        ("", "https://h/.%2E/record.json", "_record.json"),
        ('attachment; filename="../../etc/passwd"', "https://h/x", "passwd"),
        (r'attachment; filename="C:\\x\\y.pt"', "https://h/x", "y.pt"),
        ("attachment; filename*=UTF-8''%e2%82%ac%0a.pt", "https://h/x", "€.pt"),
        ("attachment; filename=.bashrc", "https://h/x", "bashrc"),
        ("attachment; filename=''", "https://h/x.pt", "''"),
        (f"attachment; filename={'ä' * 200}.pt", "https://h/x", "ä" * 58 + ".pt"),
        ("nonsense; ;;=\x80", "https://h/x.pt", "x.pt"),
    ],
)
def test_names_are_no_paths(disposition, link, name):
    assert answers.file_name(disposition, link) == name


def test_links_of_google_drive():
    name, there = "1AbcDEFghijKLM-_x", "https://drive.google.com"
    wanted = f"{drive.DOWNLOAD}?export=download&id={name}"
    for link in (
        f"{there}/file/d/{name}/view?usp=sharing",
        f"{there}/file/u/0/d/{name}/edit",
        f"{there}/open?id={name}",
        f"{there}/uc?id={name}&export=download&confirm=t",
        f"https://drive.usercontent.google.com/download?id={name}",
    ):
        assert drive.file_address(link) == wanted
    assert drive.file_address(f"{there}.example.com/open?id={name}") is None
    for link in ("drive/folders/1AbcDEFghijKLM", "open", "file/d/x/view", "uc?id=a/b"):
        with pytest.raises(StylePrompterError, match="Google Drive"):
            drive.file_address(f"{there}/{link}")
