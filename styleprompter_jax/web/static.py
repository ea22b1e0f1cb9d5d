"""The studio's page as a folder for any web server: the model runs in the browser."""

from importlib import resources
from pathlib import Path

from styleprompter_jax.app.export import ExportedFolder, export, files_in
from styleprompter_jax.core.atomic import make_folder
from styleprompter_jax.core.paths import AnyPath
from styleprompter_jax.inversion.pipeline import StylePrompter
from styleprompter_jax.web.limits import Limits
from styleprompter_jax.web.photographs import Photographs
from styleprompter_jax.web.runtime_files import runtime_files


def export_page(
    model: AnyPath,
    output: AnyPath,
    *,
    runtime: AnyPath | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> ExportedFolder:
    """Writes the ONNX graphs of a model, and the studio's page that runs them.

    Args:
        model: name or path of the model, as `load` takes it.
        output: folder to write.
        runtime: the npm package onnxruntime-web, a file or a folder; None to fetch it.
        half: see `app.export.export`.
        overwrite: replace an existing export.

    Raises:
        StylePrompterError: as in `app.export.export`, or if the runtime cannot be
            fetched or read. In these cases, nothing has been written.
    """

    def add(folder: Path, loaded: StylePrompter) -> dict:
        return _write(folder, loaded, runtime)

    how = dict(half=half, overwrite=overwrite)
    return export(model, output, format="onnx", page=add, **how)


def _write(folder: Path, model: StylePrompter, runtime: AnyPath | None) -> dict:
    """Writes the page and its runtime; returns the values that its script needs."""
    files = runtime_files(runtime)  # an error comes before the drawing
    make_folder(folder / "runtime")
    for name, content in files.items():
        # Servers do not always know the suffix .mjs, and browsers then refuse a module.
        written = name.replace(".mjs", ".js")
        (folder / "runtime" / written).write_bytes(content)
    # The modules for the browser replace the modules that send requests to the server.
    for part in ("page", "browser"):
        for file in resources.files(__package__).joinpath(part).iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
    photographs = Photographs(model, Limits())
    make_folder(folder / "examples")
    for k in range(photographs.examples):
        (folder / "examples" / f"{k}.png").write_bytes(photographs.example(k))
    names = sorted(path.relative_to(folder).as_posix() for path in files_in(folder))
    return {"examples": photographs.examples, "files": names}
