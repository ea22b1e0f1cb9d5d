"""Copies model folders."""

import logging
import os
import shutil
import stat
from pathlib import Path

from styleprompter_jax.core.atomic import make_folder
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.store import model_folder
from styleprompter_jax.store.overwriting import check_place

log = logging.getLogger(__name__)


def check_copy(source_folder: Path, folder: Path, overwrite: bool) -> None:
    """Refuses a place for a copy that is occupied, or overlaps the model itself."""
    here, there = Path(os.path.realpath(source_folder)), Path(os.path.realpath(folder))
    if here == there or here in there.parents or there in here.parents:
        raise StylePrompterError(
            f"{folder} is the folder of the model, or inside or around it: choose "
            "another --output, or omit --output to change the model itself."
        )
    check_place(folder, overwrite)


def copy_model(source_folder: Path, folder: Path, of_hub: bool) -> None:
    """Copies the regular files of a model folder, and of folders in it.

    A link may point to any file on this machine, and a stranger may have made it. So
    the function follows only two kinds of links: links to files that were read as the
    model, and links of the Hub's cache. A warning names the skipped links.
    """
    followed = (
        model_folder.PARTS if of_hub else (model_folder.CONFIG, model_folder.MODEL)
    )
    left_out = []
    for root, folders, files in os.walk(source_folder):
        below = Path(root).relative_to(source_folder)
        left_out += [below / name for name in folders if Path(root, name).is_symlink()]
        for name in files:
            file, top = Path(root, name), root == str(source_folder)
            if of_hub and not (top and name in followed):
                continue  # it may belong to another model in the same repository
            if stat.S_ISREG(file.lstat().st_mode) or (top and name in followed):
                make_folder(folder / below)
                shutil.copyfile(file, folder / below / name)
            else:
                left_out.append(below / name)
    if left_out:
        names = ", ".join(map(str, left_out))
        log.warning("The copy omits files that are not regular: %s.", names)
