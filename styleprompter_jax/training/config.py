"""Configs by name or from files, and the keys that a command line sets in them.

The configs of configs/ are the package `styleprompter_jax.configs` too. This module
does not import JAX, so a wrong call fails at once.
"""

import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from styleprompter_jax.core.buckets import in_bucket, local_place
from styleprompter_jax.core.config_files import PACKAGE, config_names
from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.fetch import local_copy
from styleprompter_jax.core.paths import path_text


def get_config(name_or_file: str | os.PathLike) -> ConfigDict:
    """Returns the config of a training.

    Args:
        name_or_file: the name of a file of configs/, "avatars_encoder"; or a Python
            file with a function get_config().  A name after a colon chooses one of
            several runs in a file: "avatars_generator:sharpen".

    Returns:
        The config, locked: its keys can be set, and no others.

    Raises:
        StylePrompterError: if there is no such config, or its file fails.
    """
    text = path_text(name_or_file)
    if in_bucket(text):
        drive, slash, rest = text.partition("/")
        drive += slash
    else:
        local_place(text)  # refuses an address before the code splits at the colon
        drive, rest = os.path.splitdrive(text)
    source, colon, variant = rest.partition(":")
    source = drive + source
    try:
        function = _load(source).get_config
        call = inspect.signature(function).bind(*[variant] if colon else [])
    except TypeError as error:
        raise StylePrompterError(
            f"{text} does not fit get_config() of its file ({error}): name a run of "
            "the file after a colon, or leave out the colon."
        ) from error
    except AttributeError as error:
        raise StylePrompterError(
            f"{source} has no function get_config(): add one."
        ) from error
    with _one_sentence(source), _ours_for_configs():
        config = function(*call.args)
    if not isinstance(config, ConfigDict):
        raise StylePrompterError(
            f"get_config() of {source} returns {type(config).__name__}: it must return "
            "an ml_collections.ConfigDict."
        )
    return ConfigDict(config).lock()  # a FrozenConfigDict too


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Returns the config with the values of arguments such as --config.batch_size=8.

    Raises:
        StylePrompterError: for a key that it lacks, or a value of another type.
    """
    argv, values = ["", *arguments], flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        rest = values(argv)[1:]
    except flags.IllegalFlagValueError as error:
        # absl wraps the exception of the value's parser.
        reason = getattr(error.__context__, "args", None) or [error]
        argument = str(error).removeprefix("flag ").partition(": ")[0]
        raise StylePrompterError(
            f"{argument} sets a value of another type ({reason[0]}): give one like the "
            "value in the config's file."
        ) from error
    except flags.Error as error:
        raise StylePrompterError(str(error)) from error
    except ValueError as error:
        raise StylePrompterError(
            f"{' or '.join(arguments)} names no key: write --config.KEY=VALUE."
        ) from error
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        # The message of ml_collections is 'KEY', and maybe 'Did you mean "..."'.
        key = "".join(re.findall(r"\w+", str(error))[:1])
        near = re.search(r'Did you mean "(\w+)"', str(error))
        names = {a: re.split(r"[.\[]", a.partition("=")[0]) for a in arguments}
        given = [a for a in arguments if key in names[a]] or arguments
        hint = (
            f"did you mean {near[1]}?"
            if near
            else (
                "see the keys in its file, or add the key in a config file of your own."
            )
        )
        raise StylePrompterError(
            f"{' or '.join(given)} sets a key that the config does not have: {hint}"
        ) from error
    if rest:
        raise StylePrompterError(f"{rest[0]} is not an argument: see --help.")
    return values.config


def _load(source: str) -> types.ModuleType:
    """Returns the module of a config, from its name or its file."""
    if re.fullmatch(r"\w+", source):
        if source not in config_names():
            raise StylePrompterError(
                f"There is no config {source}: choose one of "
                f"{', '.join(config_names())}, or give the path of a file, as in "
                "./my_config.py."
            )
        with _one_sentence(source):
            return importlib.import_module(f"{PACKAGE}.{source}")
    path = local_copy(source)
    try:
        code = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StylePrompterError(
            f"The config file {source} cannot be read ({reason}): give the path of "
            "another, or a name that `styleprompter train --help` lists."
        ) from error
    module = types.ModuleType("config_file")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    with _one_sentence(source), _ours_for_configs():
        exec(compile(code, path, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def _ours_for_configs() -> Iterator[None]:
    """Makes `from configs import ...` find ours, unless Python finds another package.

    Users' own files import it so, since configs/ lies at the top of a checkout.
    """
    if "configs" in sys.modules or importlib.util.find_spec("configs"):
        yield
        return
    sys.modules["configs"] = importlib.import_module(PACKAGE)
    try:
        yield
    finally:
        del sys.modules["configs"]


@contextlib.contextmanager
def _one_sentence(source: str) -> Iterator[None]:
    """Turns any exception of a config's code into one sentence."""
    try:
        yield
    except StylePrompterError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).name == Path(source).name]
        where = f" (line {lines[-1]})" if lines else ""
        raise StylePrompterError(
            f"{source} fails with {type(error).__name__}: {error}{where}."
        ) from error
