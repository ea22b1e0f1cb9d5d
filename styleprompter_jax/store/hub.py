"""Models on the Hugging Face Hub: hf://USER/MODEL[@REVISION][/FOLDER].

The Hub's own client (huggingface_hub, the extra `hub`) fetches, keeps and uploads; its
settings hold (HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.store.card import CARD, MARK
from styleprompter_jax.store.places import (
    CONFIG,
    CONFIG_BYTES,
    DIRECTIONS,
    DISCRIMINATOR,
    MODEL,
)
from styleprompter_jax.version import __version__

FORM = "hf://USER/MODEL[@REVISION][/FOLDER]"
# As Hub and Git have them; "..", which leads out of a folder, is looked for apart.
_NAME = re.compile(
    r"hf://?(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/]*))?"
    r"(?:/(?P<folder>.*))?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_REVISION = re.compile(r"[\w.+-]+(?:/[\w.+-]+)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class HubName:
    """A place on the Hub; `str` writes it as it is read.

    Attributes:
        repo: "USER/MODEL".
        revision: a branch, tag or commit; "" is the main branch.
        folder: within the repository, without slashes at its ends; "" is its top.
    """

    repo: str
    revision: str = ""
    folder: str = ""

    def __str__(self) -> str:
        revision = self.revision
        if not revision.startswith("refs/"):
            revision = quote(revision, safe="+")
        return (
            f"hf://{self.repo}"
            + (f"@{revision}" if revision else "")
            + (f"/{self.folder}" if self.folder else "")
        )

    def path(self, file: str) -> str:
        """The path of a file of the model within the repository."""
        return f"{self.folder}/{file}" if self.folder else file


def parse(text: str) -> HubName:
    """Reads hf://USER/MODEL[@REVISION][/FOLDER].

    In a revision "/" is written %2F, except in refs/pr/1.

    Raises:
        StylePrompterError: if it is none.
    """
    match = _NAME.fullmatch(text)
    if not match:
        raise StylePrompterError(f"{text!r} is no name on the Hub: write {FORM}.")
    repo = match["repo"]
    try:
        _client().utils.validate_repo_id(repo)
    except ValueError as error:
        raise StylePrompterError(
            f"{text!r} is no name on the Hub, which has letters, digits, '-', '_' and "
            f"'.' in USER and MODEL, 96 at most: write {FORM}."
        ) from error
    revision = unquote(match["revision"] or "")
    if match["revision"] is not None and (
        not _REVISION.fullmatch(revision) or ".." in revision
    ):
        raise StylePrompterError(
            f"{text!r} names no revision: write a branch, a tag or a commit behind the "
            "'@', with %2F for '/'."
        )
    folder = (match["folder"] or "").strip("/")
    parts = folder.split("/") if folder else []
    if any(part in ("", ".", "..") for part in parts) or re.search(
        r"[\\\0-\x1f\x7f]", folder
    ):
        raise StylePrompterError(
            f"{text!r} names no folder of a repository: write its path from the top, "
            "without '.', '..' and '\\'."
        )
    return HubName(repo, revision, folder)


def pin(name: HubName) -> HubName:
    """The same with the commit that its revision stands for now.

    Where the Hub cannot be reached, the one that it stood for last.

    Raises:
        StylePrompterError: if there is no such model.
    """
    if _COMMIT.fullmatch(name.revision):
        return name
    file = _fetch_config(name)
    commit = file.parents[len(PurePosixPath(name.path(CONFIG)).parts) - 1].name
    return dataclasses.replace(name, revision=commit)


def fetch(name: HubName) -> Path:
    """The folder in the Hub's cache that holds a model, fetched as far as it is not.

    Only config.json and the model's safetensors are.

    Raises:
        StylePrompterError: if there is no such model, or it cannot be fetched.
    """
    name = pin(name)
    file = _fetch_config(name)
    try:
        known = "version" in read_json(file, limit=CONFIG_BYTES)
    except StylePrompterError:
        known = False
    if not known:
        raise StylePrompterError(
            f"{name} is no model of styleprompter_jax: its {CONFIG} is of another "
            f"program, or the copy in {kept_in(file.parent)} is damaged, and fetched "
            "anew when you delete it."
        )
    for optional in (DIRECTIONS, DISCRIMINATOR):
        _fetch_file(name, optional)
    # The last one: what was interrupted before is no model, and found to be none.
    if _fetch_file(name, MODEL) is None:
        raise StylePrompterError(
            f"{name} is no model: it has {CONFIG} and no {MODEL}, so it was uploaded "
            "in part; write to its owner, or name another revision."
        )
    return file.parent


def upload(
    name: HubName,
    files: Mapping[str, Path | bytes],
    *,
    stale: Collection[str] = (),
    private: bool = False,
) -> HubName:
    """Puts files into a place, in one commit; makes the repository where it is missing.

    A card that `card.make_card` wrote replaces no other one.

    Args:
        name: the place; its revision is a branch.
        files: their content, or where it is, by their names in the folder.
        stale: what else the commit removes from the folder, if it is there.
        private: that nobody else may see the repository.

    Returns:
        The name with the commit.

    Raises:
        StylePrompterError: if it cannot be done, or the repository is there and public
            and ``private`` was asked for.
    """
    if _COMMIT.fullmatch(name.revision) or name.revision.startswith("refs/"):
        raise StylePrompterError(
            f"{name} names a commit, which nothing can be put into: "
            "name a branch, or none."
        )
    client = _client()
    api = client.HfApi(library_name="styleprompter_jax", library_version=__version__)
    branch = name.revision or None
    try:
        try:
            info = api.model_info(name.repo, revision=branch)
        except client.errors.RepositoryNotFoundError:
            api.create_repo(name.repo, private=private or None)
            info = api.model_info(name.repo, revision=branch)
        if private and not info.private:
            raise StylePrompterError(
                f"{name.repo} is there and public: make it private in its settings at "
                f"{page(name)}/settings, or name another one."
            )
        there = {sibling.rfilename for sibling in info.siblings or ()}
        card = files.get(CARD)
        made = isinstance(card, bytes) and MARK.encode() in card
        if made and name.path(CARD) in there and not _is_made(name, info.sha):
            files = {file: content for file, content in files.items() if file != CARD}
        operations = [
            client.CommitOperationAdd(name.path(file), content)
            for file, content in files.items()
        ]
        operations += [
            client.CommitOperationDelete(name.path(file))
            for file in stale
            if file not in files and name.path(file) in there
        ]
        commit = api.create_commit(
            name.repo,
            operations,
            commit_message=f"Model of styleprompter_jax {__version__}",
            revision=branch,
            parent_commit=info.sha,
        )
    except StylePrompterError:
        raise
    except Exception as error:  # the client lets those of its HTTP library through
        cause = error.__cause__ if type(error) is RuntimeError else None
        raise StylePrompterError(explain(name, cause or error)) from error
    return dataclasses.replace(name, revision=commit.oid)


def _is_made(name: HubName, commit: str) -> bool:
    """Whether the card there is one of `card.make_card`, and not a person's."""
    file = _fetch_file(dataclasses.replace(name, revision=commit), CARD)
    return file is not None and MARK.encode() in file.read_bytes()


def page(name: HubName) -> str:
    """The address of a repository, for people."""
    return f"{_client().constants.ENDPOINT}/{name.repo}"


def kept_in(folder: Path) -> Path:
    """The part of the Hub's cache that a fetched folder is in: its repository's."""
    return next(p for p in folder.parents if p.name.startswith("models--"))


def _fetch_config(name: HubName) -> Path:
    file = _fetch_file(name, CONFIG)
    if file is None:
        where = f"in its folder {name.folder!r}" if name.folder else "at its top"
        tree = f"{name.repo}/tree/{quote(name.revision or 'main')}"
        raise StylePrompterError(
            f"{name.repo} on the Hub has no model {where}, no {CONFIG} to wit: see "
            f"{_client().constants.ENDPOINT}/{tree} for what it has, and write {FORM}."
        )
    return file


def _fetch_file(name: HubName, file: str) -> Path | None:
    """The copy of a file in the cache; None where the repository has none."""
    client, path = _client(), name.path(file)
    revision = name.revision or "main"
    if _COMMIT.fullmatch(revision):
        found = client.try_to_load_from_cache(name.repo, path, revision=revision)
        if isinstance(found, str):
            return Path(found)
        if found is not None:  # a file that the commit is known not to have
            return None
    try:
        return Path(
            client.hf_hub_download(
                name.repo,
                path,
                revision=revision,
                library_name="styleprompter_jax",
                library_version=__version__,
            )
        )
    except client.errors.LocalEntryNotFoundError as error:
        raise StylePrompterError(_unreachable(name, error)) from error
    except client.errors.EntryNotFoundError:
        return None
    except Exception as error:  # the client lets those of its HTTP library through
        raise StylePrompterError(explain(name, error)) from error


def _unreachable(name: HubName, error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, _client().errors.OfflineModeIsEnabled):
        return (
            f"{name} is not in the Hub's cache, and HF_HUB_OFFLINE is set: unset it, "
            "or name a model that was loaded before."
        )
    return (
        f"{name} is not in the Hub's cache, and {_client().constants.ENDPOINT} cannot "
        f"be reached ({_brief(cause or error)}): try again with a network, or name a "
        "model that was loaded before."
    )


def explain(name: HubName, error: BaseException) -> str:
    """What the Hub's client met with, in a sentence or two."""
    errors, endpoint = _client().errors, _client().constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name.repo} asks for its owner's consent: request it at "
            f"{endpoint}/{name.repo}, then {login}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no model {name.repo} at {endpoint}, or it is private: look at "
            f"the name, or {login}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{name.repo} has no revision {name.revision or 'main'!r}: name a branch, "
            f"a tag or a commit of {endpoint}/{name.repo}/commits/main."
        )
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return (
            f"{endpoint} does not let you at {name.repo} ({_brief(error)}): {login} of "
            "one who may."
        )
    return f"{name} failed at {endpoint} ({_brief(error)}): try again."


def _brief(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip()[:200].rstrip(".:") if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _client() -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors, utils  # noqa: F401
    except ImportError as error:
        raise StylePrompterError(
            "Models on the Hugging Face Hub need the extra `hub`: install it with "
            "`pip install 'styleprompter_jax[hub]'`."
        ) from error
    return huggingface_hub
