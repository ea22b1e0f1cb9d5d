"""TFDS, also where protobuf is of an older version than what wrote TFDS's messages.

Google Colab's runtime is such a place: protobuf 5.29 refuses tensorflow-metadata 1.21
by its version, and `import tensorflow_datasets` logs that and gives an empty module.
Import `tfds` from here: the versions are not compared meanwhile.  Slow to import.
"""

import contextlib
import importlib
import os

_UNCHECKED = "TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK"


@contextlib.contextmanager
def _any_version():
    before = os.environ.get(_UNCHECKED)
    os.environ[_UNCHECKED] = "true"
    try:
        yield
    finally:
        del os.environ[_UNCHECKED]
        if before is not None:
            os.environ[_UNCHECKED] = before


with _any_version():
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "core"):  # imported before, without this
        tfds = importlib.reload(tfds)
