"""Downloads and uploads models on the Hugging Face Hub.

The form of a name is hf://USER/MODEL[@REVISION][/FOLDER]. The Hub's own client
(huggingface_hub, the extra `hub`) downloads, caches and uploads. Its settings apply
(HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

import dataclasses
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.core.json_files import read_json
from styleprompter_jax.core.refusal import quoted
from styleprompter_jax.store.card import CARD, MARK
from styleprompter_jax.store.model_folder import read_config
from styleprompter_jax.store.places import (
    CONFIG,
    CONFIG_BYTES,
    DIRECTIONS,
    DISCRIMINATOR,
    MODEL,
    reading,
)
from styleprompter_jax.version import __version__

FORM = "hf://USER/MODEL[@REVISION][/FOLDER]"
# The rules of the Hub and Git. `parse` also refuses "..", which leads out of a folder.
_NAME = re.compile(
    r"hf://?(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/]*))?"
    r"(?:/(?P<folder>.*))?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_REVISION = re.compile(r"[\w.+-]+(?:/[\w.+-]+)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_US = {"library_name": "styleprompter_jax", "library_version": __version__}


@dataclasses.dataclass(frozen=True)
class HubName:
    """A place on the Hub; `str` gives the form that `parse` reads.

    Attributes:
        repo: "USER/MODEL".
        revision: a branch, tag or commit; "" means the main branch.
        folder: a folder in the repository, without slashes at its ends; "" means the
            top folder.
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
        """Returns the path of a model's file in the repository."""
        return f"{self.folder}/{file}" if self.folder else file


def parse(text: str) -> HubName:
    """Parses hf://USER/MODEL[@REVISION][/FOLDER].

    A revision has %2F instead of "/", except in refs/pr/1.

    Raises:
        StylePrompterError: if the text has another form.
    """
    match = _NAME.fullmatch(text)
    if not match:
        raise StylePrompterError(f"{text!r} is not a name on the Hub: write {FORM}.")
    repo = match["repo"]
    try:
        _client().utils.validate_repo_id(repo)
    except ValueError as error:
        raise StylePrompterError(
            f"{text!r} is not a name on the Hub: write {FORM}, with up to 96 letters, "
            "digits, '-', '_' and '.' in USER and MODEL."
        ) from error
    revision = unquote(match["revision"] or "")
    if match["revision"] is not None and (
        not _REVISION.fullmatch(revision) or ".." in revision
    ):
        raise StylePrompterError(
            f"{text!r} names no revision: write a branch, a tag or a commit after the "
            "'@', with %2F instead of '/'."
        )
    if revision == "refs":
        raise StylePrompterError(
            f"{text!r} has the long name of a revision: write its short name after the "
            "'@', such as main instead of refs/heads/main, with %2F instead of '/'."
        )
    folder = (match["folder"] or "").strip("/")
    parts = folder.split("/") if folder else []
    if any(part in ("", ".", "..") or part[1:2] == ":" for part in parts) or re.search(
        r"[\\\0-\x1f\x7f]", folder
    ):
        raise StylePrompterError(
            f"{text!r} names no folder of a repository: write its path from the top, "
            "without '.', '..', '\\' and drives such as 'C:'."
        )
    return HubName(repo, revision, folder)


def pin(name: HubName) -> HubName:
    """Returns the name with the current commit of its revision.

    If the Hub cannot be reached, this is the last known commit.

    Raises:
        StylePrompterError: if the model does not exist.
    """
    if _COMMIT.fullmatch(name.revision):
        return name
    file = _fetch_config(name)
    commit = file.parents[len(PurePosixPath(name.path(CONFIG)).parts) - 1].name
    return dataclasses.replace(name, revision=commit)


def fetch(name: HubName) -> Path:
    """Returns the folder of a model in the Hub's cache; downloads missing files.

    It downloads only config.json and the model's safetensors.

    Raises:
        StylePrompterError: if the model does not exist, or cannot be downloaded.
    """
    name = pin(name)
    file = _fetch_config(name)
    try:
        known = "version" in read_json(file, limit=CONFIG_BYTES)
    except StylePrompterError:
        known = False
    if not known:
        raise StylePrompterError(
            f"{name} is not a model of styleprompter_jax, because its {CONFIG} comes "
            f"from another program, or its copy in {kept_in(file.parent)} is damaged: "
            "name another model, or delete the copy to download it again."
        )
    with reading(str(name), file.parent):
        read_config(file.parent)  # refuses unknown versions
    for optional in (DIRECTIONS, DISCRIMINATOR):
        _fetch_file(name, optional)
    # Download this file last, so that an interrupted download is not a valid model.
    if _fetch_file(name, MODEL) is None:
        raise StylePrompterError(
            f"{name} is an incomplete upload, because it has {CONFIG} but not {MODEL}: "
            "ask its owner, or name another revision."
        )
    return file.parent


def upload(
    name: HubName,
    files: Mapping[str, Path | bytes],
    *,
    stale: Collection[str] = (),
    private: bool = False,
) -> HubName:
    """Uploads files in one commit; creates the repository if it is missing.

    A card of `card.make_card` does not replace a card that a person wrote.

    Args:
        name: the place; its revision is a branch.
        files: the content or the path of each file, by its name in the folder.
        stale: other files in the folder that the commit removes.
        private: make a new repository private, and refuse a public one.

    Returns:
        The name with the commit.

    Raises:
        StylePrompterError: if the upload fails, if ``private`` is true and the
            repository exists and is public, or if the branch does not exist.
    """
    if _COMMIT.fullmatch(name.revision) or name.revision.startswith("refs/"):
        raise StylePrompterError(
            f"{name} names a commit, which cannot be changed: name a branch, or omit "
            "the revision."
        )
    client = _client()
    api = client.HfApi(**_US)
    branch = name.revision or None
    try:
        try:
            info = api.model_info(name.repo, revision=branch)
        except client.errors.RepositoryNotFoundError:
            if branch not in (None, "main"):
                raise StylePrompterError(
                    f"There is no model {name.repo}, or it is private, and a new "
                    f"repository has no branch {branch!r}: omit @{name.revision}, or "
                    "check the name."
                ) from None
            api.create_repo(name.repo, private=private or None)
            info = api.model_info(name.repo, revision=branch)
        if private and not info.private:
            raise StylePrompterError(
                f"{name.repo} exists and is public: make it private in its settings at "
                f"{page(name)}/settings, or name another repository."
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
    except Exception as error:  # the client does not catch errors of its HTTP library
        cause = error.__cause__ if type(error) is RuntimeError else None
        raise StylePrompterError(explain(name, cause or error)) from error
    return dataclasses.replace(name, revision=commit.oid)


def _is_made(name: HubName, commit: str) -> bool:
    """Returns whether `card.make_card` wrote the card there, and not a person."""
    file = _fetch_file(dataclasses.replace(name, revision=commit), CARD)
    return file is not None and MARK.encode() in file.read_bytes()


def page(name: HubName) -> str:
    """Returns the web page of a repository."""
    return f"{_client().constants.ENDPOINT}/{name.repo}"


def kept_in(folder: Path) -> Path:
    """Returns the folder of the repository in the Hub's cache, above ``folder``."""
    return next(p for p in folder.parents if p.name.startswith("models--"))


def _fetch_config(name: HubName) -> Path:
    file = _fetch_file(name, CONFIG)
    if file is None:
        where = f"in its folder {name.folder!r}" if name.folder else "at its top"
        tree = f"{name.repo}/tree/{quote(name.revision or 'main')}"
        raise StylePrompterError(
            f"{name.repo} on the Hub has no model {where}, because {CONFIG} is "
            f"missing: see its files at {_client().constants.ENDPOINT}/{tree}, and "
            f"write {FORM}."
        )
    return file


def _fetch_file(name: HubName, file: str) -> Path | None:
    """Returns a file's copy in the cache; None if the repository has no such file."""
    client, path = _client(), name.path(file)
    place = {
        "repo_id": name.repo,
        "filename": path,
        "revision": name.revision or "main",
    }
    found = client.try_to_load_from_cache(**place)
    copy = Path(found) if isinstance(found, str) else None
    # The cache may also know that the commit has no such file.
    if found is not None and _COMMIT.fullmatch(name.revision):
        return copy
    try:
        # The download would try for half a minute to reach the Hub. This does not.
        about = client.get_hf_file_metadata(client.hf_hub_url(**place), **_US)
    except client.errors.HfHubHTTPError:
        pass  # the download tries again, or raises the error
    except Exception as error:  # the client does not catch errors of its HTTP library
        if copy:
            return copy
        raise StylePrompterError(_unreachable(name, error)) from error
    else:
        if copy and about.commit_hash in copy.parts:
            return copy
        if file == CONFIG and (about.size or 0) > CONFIG_BYTES:
            raise StylePrompterError(
                f"{name} is not a model of styleprompter_jax, because its {CONFIG} has "
                f"{about.size:,} bytes, and the limit is {CONFIG_BYTES:,}: name "
                "another model."
            )
    try:
        return Path(client.hf_hub_download(**place, **_US))
    except client.errors.LocalEntryNotFoundError as error:
        raise StylePrompterError(explain(name, error.__cause__ or error)) from error
    except client.errors.EntryNotFoundError:
        return None
    except Exception as error:
        raise StylePrompterError(explain(name, error)) from error


def _unreachable(name: HubName, error: Exception) -> str:
    if isinstance(error, _client().errors.OfflineModeIsEnabled):
        return (
            f"{name} is not in the Hub's cache, and HF_HUB_OFFLINE is set: unset it, "
            "or name a model in the cache."
        )
    return (
        f"{name} is not in the Hub's cache, and {_client().constants.ENDPOINT} cannot "
        f"be reached ({_brief(error)}): try again with a network connection, or name a "
        "model in the cache."
    )


def explain(name: HubName, error: BaseException) -> str:
    """Describes an error of the Hub's client, and the fix."""
    errors, endpoint = _client().errors, _client().constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name.repo} needs the consent of its owner: request access at "
            f"{endpoint}/{name.repo}, then {login}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no model {name.repo} at {endpoint}, or it is private: check "
            f"the name, or {login}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{name.repo} has no revision {name.revision or 'main'!r}: name a branch, "
            f"a tag or a commit of {endpoint}/{name.repo}/commits/main."
        )
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return (
            f"{endpoint} refuses access to {name.repo} ({_brief(error)}): {login} of a "
            "user with access."
        )
    if isinstance(error, errors.FileMetadataError):
        return (
            f"{endpoint} does not answer as the Hub does ({_brief(error)}): check "
            "HF_ENDPOINT, if it is set, and the proxy of your network."
        )
    if status is None:
        return f"{name} failed at {endpoint} ({_brief(error)}): try again."
    if status == 429 or status >= 500:
        return f"{name} failed at {endpoint} (status {status}): try again later."
    what = "has no" if status in (404, 410) else "refuses the request for"
    return (
        f"{endpoint} {what} {name} (status {status}): check the name, and HF_ENDPOINT "
        "if it is set."
    )


def _brief(error: BaseException) -> str:
    """Returns the type of an error and the first line of its message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip()[:200].rstrip(".:") if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _client() -> Any:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise StylePrompterError(
            f"HF_ENDPOINT is {quoted(endpoint)} instead of the address of a Hub: set "
            "it to https://HOST, or unset it."
        )
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors, utils  # noqa: F401
    except ImportError as error:
        raise StylePrompterError(
            "Models on the Hugging Face Hub need the extra `hub`: install it with "
            "`pip install 'styleprompter_jax[hub]'`."
        ) from error
    return huggingface_hub
