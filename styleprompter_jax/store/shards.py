"""Shards of inversions: Parquet files with the names of their images and their run.

    latents, names, images = read_shard(path)

A shard gets its name only when it is complete. Its columns are "source" (text: the
image), "image" (an encoded image), "w_plus" (n, w_dim), and "features_0" and so on. Its
metadata describe the run: the model and the options that its results depend on.

Axes: m images of a shard, n codes.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from styleprompter_jax.core.atomic import atomic_path
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.editing.latents import Latents

SUFFIX = ".parquet"
_RUN = b"styleprompter"  # key of the metadata


def shard_name(sources: Iterable[str]) -> str:
    """Returns the name of the shard of these images: the same name for the same images.

    A shard that is written twice therefore replaces itself.
    """
    digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()
    return f"part-{digest[:20]}{SUFFIX}"


def write_shard(
    path: Path,
    run: Mapping[str, Any],
    sources: Sequence[str],
    images: Sequence[bytes],
    latents: Latents,
) -> None:
    """Writes a shard of m images.

    Args:
        path: the file.
        run: JSON values that identify the run.
        sources: m names of the images.
        images: m encoded images.
        latents: the latents of the m images.

    Raises:
        StylePrompterError: if the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def tensors(array: Any) -> Any:
        array = np.ascontiguousarray(array, np.float32)
        return pa.FixedShapeTensorArray.from_numpy_ndarray(array)

    columns = {
        "source": pa.array(list(sources), pa.string()),
        "image": pa.array(list(images), pa.binary()),
        "w_plus": tensors(latents.w_plus),
    }
    for k, maps in enumerate(latents.features):
        columns[f"features_{k}"] = tensors(maps)
    table = pa.table(columns)
    kept = {_RUN: json.dumps(run, sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **kept})
    with atomic_path(path) as partial:
        pq.write_table(table, partial)


def read_shard(path: str | os.PathLike) -> tuple[Latents, list[str], list[bytes]]:
    """Reads a shard, also from a bucket.

    Returns:
        The latents of its m images, the names of the images, and the encoded images.

    Raises:
        StylePrompterError: if the file is not a complete shard.
    """
    import pyarrow.parquet as pq

    file = local_copy(path)
    with _reading(str(path)):
        json.loads(pq.read_metadata(file).metadata[_RUN])  # only shards have it
        table = pq.read_table(file)
        arrays = {
            name: table[name].combine_chunks().to_numpy_ndarray()
            for name in table.column_names
            if name not in ("source", "image")
        }
        names, images = (table[name].to_pylist() for name in ("source", "image"))
        maps = [arrays[f"features_{k}"] for k in range(len(arrays) - 1)]
        return Latents(arrays["w_plus"], tuple(maps)), names, images


def names_in(file: Path | io.IOBase, run: Mapping[str, Any], shown: str) -> set[str]:
    """Returns the names of the images in a shard of this run.

    Args:
        file: the shard.
        run: see `write_shard`.
        shown: the name of the shard in messages.

    Raises:
        StylePrompterError: if the shard is damaged, or of another run.
    """
    import pyarrow.parquet as pq

    run = json.loads(json.dumps(run))
    with _reading(shown), pq.ParquetFile(file) as opened:
        theirs = json.loads(opened.metadata.metadata[_RUN])
        names = set(opened.read(columns=["source"])["source"].to_pylist())
    keys = sorted(run.keys() | theirs.keys())
    if other := [key for key in keys if theirs.get(key) != run.get(key)]:
        raise StylePrompterError(
            f"{shown} is a shard of another run, with {other[0]}="
            f"{json.dumps(theirs.get(other[0]))} instead of "
            f"{json.dumps(run.get(other[0]))}: choose another --output, or remove "
            "the shards."
        )
    return names


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turns the errors of a damaged or foreign file into one sentence."""
    try:
        yield
    except StylePrompterError:  # of a bucket
        raise
    except Exception as error:  # pyarrow raises OSError, ValueError, KeyError, ...
        raise StylePrompterError(
            f"{path} is not a shard of `invert --engine ray`, or it is damaged: move "
            "it away, and the same call makes its images again."
        ) from error
