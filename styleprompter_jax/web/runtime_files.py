"""The files of onnxruntime-web: from its npm package, or from a path."""

import base64
import gzip
import hashlib
import http.client
import io
import tarfile
import urllib.request
import zlib
from pathlib import Path

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.files import read_bytes
from styleprompter_jax.core.paths import AnyPath, local_path

VERSION = "1.30.0"
ADDRESS = (
    "https://registry.npmjs.org/onnxruntime-web/-/"
    f"onnxruntime-web-{VERSION}.tgz"
)  # fmt: skip
# npm's SHA-512 of this version. The program refuses a download with another one.
_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4C"
    "XAfKYQ=="
)
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    # The same with WebGPU.
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_LIMIT = 2**27  # bytes of the package, and of a file in it
_SECONDS = 60  # without an answer


def runtime_files(path: AnyPath | None = None) -> dict[str, bytes]:
    """Returns the files of onnxruntime-web that a page needs, by name.

    Args:
        path: the package as npm packs it (.tgz), or its unpacked folder; None to fetch
            the package from npm.

    Raises:
        StylePrompterError: if the package cannot be fetched, its SHA-512 is wrong, or
            a file is missing.
    """
    if path is None:
        return _unpacked(_fetched(), "The package of onnxruntime-web")
    place = local_path(path)
    if not place.is_dir():
        return _unpacked(read_bytes(place, _LIMIT), str(place))
    folders = [place, place / "dist", place / "package" / "dist"]
    found = next((f for f in folders if (f / FILES[0]).is_file()), None)
    if found is None:
        raise StylePrompterError(
            f"{place} has no {FILES[0]}: name the npm package onnxruntime-web, packed "
            "or unpacked."
        )
    return {name: read_bytes(found / name, _LIMIT) for name in FILES}


def _fetched() -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_SECONDS) as answer:
            content = answer.read(_LIMIT)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StylePrompterError(
            f"onnxruntime-web cannot be fetched from {ADDRESS} ({error}): run `npm "
            f"pack onnxruntime-web@{VERSION}`, and name the file with --runtime."
        ) from error
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != _SHA512:
        raise StylePrompterError(
            f"{ADDRESS} is not the package that this program knows, because its "
            "SHA-512 differs: name a package that you trust with --runtime."
        )
    return content


def _unpacked(content: bytes, source: str) -> dict[str, bytes]:
    """Returns the files of a packed package, and writes nothing to the disk."""
    found: dict[str, bytes] = {}
    try:
        # gzip checks the sum at the end of the content; tarfile does not read it.
        packed = io.BytesIO(gzip.decompress(content))
        with tarfile.open(fileobj=packed) as package:
            for member in package:
                name = Path(member.name).name
                wanted = member.isfile() and member.name == f"package/dist/{name}"
                if wanted and name in FILES and member.size < _LIMIT:
                    file = package.extractfile(member)
                    assert file is not None  # because the entry is a file
                    found[name] = file.read()
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise StylePrompterError(
            f"{source} is not an npm package ({error}): name the packed or unpacked "
            "package onnxruntime-web with --runtime."
        ) from error
    if missing := [name for name in FILES if name not in found]:
        raise StylePrompterError(
            f"{source} has no {missing[0]}: name the npm package onnxruntime-web "
            f"{VERSION}."
        )
    return found
