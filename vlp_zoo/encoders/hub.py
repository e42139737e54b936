"""The hub of models: whether one can be had, and how one of ours gets there.

The libraries that download try again and again when there is no network, for most of a
minute. `require_hub` asks once, with a short limit, before they are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError, EncoderLoadError, FileWriteError

__all__ = ["fetch", "is_cached", "one_line", "push", "require_hub", "require_push"]

REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
"""OWNER/NAME."""

PATIENCE = 4.0
"""Seconds that the hub may take to answer."""


def is_cached(repo: str, files: Sequence[str]) -> bool:
    """Whether one of the files of a repository is in the hub's cache.

    Args:
        repo: ``owner/name``, with ``@revision`` where it is not the main one.
        files: Names of which any will do.
    """
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repo.partition("@")
    return any(
        isinstance(try_to_load_from_cache(name, file, revision=revision or None), str)
        for file in files
    )


def require_hub(repo: str, what: str) -> None:
    """Refuse at once what is not cached and cannot be downloaded.

    Args:
        repo: ``owner/name``, with ``@revision`` where it is not the main one.
        what: For the message, such as ``"weights for timm:resnet50.a1_in1k"``.

    Raises:
        EncoderLoadError: If downloads are switched off, the hub does not answer within
            `PATIENCE`, or it does not show such a repository to us.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    place = f"{what}, in the cache {constants.HF_HUB_CACHE} or on line"
    if constants.is_offline_mode():
        raise EncoderLoadError(
            place,
            f"no {repo} in the cache, and downloads are off (HF_HUB_OFFLINE=1)",
            "unset HF_HUB_OFFLINE, copy the cache of a machine that has the model, or "
            "give a local file or folder",
        )
    name, _, revision = repo.partition("@")
    try:
        HfApi().model_info(name, revision=revision or None, timeout=PATIENCE)
    except (HfHubHTTPError, HFValidationError) as error:
        raise EncoderLoadError(
            place,
            f"the hub's answer: {one_line(error)}",
            "check the name; for a gated model accept its terms and log in",
        ) from error
    except Exception as error:  # whatever the installed HTTP client raises
        raise EncoderLoadError(
            place,
            f"no {repo} in the cache, and no network ({type(error).__name__})",
            "connect, set HF_HUB_CACHE to a folder that has the model, or give a local "
            "file or folder",
        ) from error


def fetch(repo: str, files: Sequence[str]) -> Path:
    """The folder of a repository in the cache, as new as can be had.

    Args:
        repo: ``owner/name``, with ``@revision`` where it is not the main one.
        files: Names of the files that are wanted, those that there are.

    Raises:
        EncoderLoadError: If there is no such repository, or it is neither in the cache
            nor to be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = repo.partition("@")
    if not REPO.fullmatch(name):
        raise EncoderLoadError(
            f"a model {repo}",
            "neither a folder that is there nor OWNER/NAME on the hub",
            "give one of the two; OWNER/NAME@REVISION names an older version",
        )

    def take(cached: bool) -> Path:
        place = snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=list(files),
            local_files_only=cached,
        )
        return Path(place)

    try:
        require_hub(repo, f"the model {repo}")
    except EncoderLoadError as error:
        # What the hub refuses is not taken from the cache either.
        if isinstance(error.__cause__, HfHubHTTPError):
            raise
        try:
            return take(cached=True)
        except LocalEntryNotFoundError:
            raise error from None
    try:
        return take(cached=False)
    except Exception as error:  # whatever the installed HTTP client raises
        raise EncoderLoadError(
            f"the files of the model {repo}", one_line(error), "try again"
        ) from error


def require_push(repo: str) -> None:
    """Refuse what cannot be pushed, before anything is computed for it.

    Args:
        repo: ``OWNER/NAME``.

    Raises:
        ConfigError: If that is no name of a repository, uploads are switched off, or
            there is no token.
    """
    from huggingface_hub import constants, get_token

    if not REPO.fullmatch(repo):
        raise ConfigError(
            "OWNER/NAME of a model on the hub",
            repr(repo),
            "write --push OWNER/NAME: your name there, or that of an organisation",
        )
    if constants.is_offline_mode():
        raise ConfigError(
            f"the hub, to push to {repo}",
            "HF_HUB_OFFLINE=1: it is not to be asked",
            "unset HF_HUB_OFFLINE, or leave out --push",
        )
    if get_token() is None:
        raise ConfigError(
            f"a token of the hub, to push to {repo}",
            "none",
            "log in by hf auth login, or set HF_TOKEN to a token that may write",
        )


def push(
    files: Mapping[str, Path], repo: str, ours: Sequence[str], *, public: bool
) -> str:
    """Upload files as one commit to a model repository, which is made if need be.

    A repository that holds an export already gets a new version of it; the hub keeps
    the older ones.

    Args:
        files: Path in the repository to file.
        repo: ``OWNER/NAME``, see `require_push`.
        ours: Paths that an export may have. The first is one that each has: a repository
            with other files and without it is left alone. Those that the repository has
            of an older export, and this one has not, are removed.
        public: Whether everyone may see it. Without it a new repository is private, and
            one that is public already is left alone.

    Returns:
        Its address, and who may see it, for the user.

    Raises:
        FileWriteError: If the hub refuses or is not reached, or the repository is left
            alone.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    names: list[str] = []
    api, looked_for = HfApi(library_name="vlp_zoo"), f"to push a model to {repo}"
    try:
        try:
            found = api.model_info(repo, timeout=PATIENCE)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=not public)
            private = not public
        else:
            private = bool(found.private)
            names = [file.rfilename for file in found.siblings or []]
            _require_ours(names, repo, ours[0])
            if not private and not public:
                raise FileWriteError(
                    looked_for,
                    "a repository that everyone can see; nothing was pushed",
                    "add --public if the terms of the training data allow it, or choose "
                    "another name",
                )
        stale = (name for name in ours if name in names and name not in files)
        changes: list[Any] = [
            *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
            *(CommitOperationDelete(name) for name in dict.fromkeys(stale)),
        ]
        api.create_commit(repo, changes, commit_message="Export of vlpzoo")
    except FileWriteError:
        raise
    except HfHubHTTPError as error:
        # What the hub says itself stands behind the library's first line.
        status, said = error.response.status_code, error.server_message
        refused = status in (401, 403)
        raise FileWriteError(
            looked_for,
            f"the hub's answer: {status} {said or one_line(error)}",
            "check the name, and that your token may write to it (hf auth whoami)"
            if refused
            else "mend that, or wait",
        ) from error
    except Exception as error:  # whatever the installed HTTP client raises
        raise FileWriteError(
            looked_for, f"no way to the hub: {one_line(error)}", "connect to it"
        ) from error
    return f"{api.endpoint}/{repo} ({'private' if private else 'public'})"


def _require_ours(names: Sequence[str], repo: str, mark: str) -> None:
    others = sorted({*names} - {".gitattributes", "README.md"})
    if others and mark not in others:
        raise FileWriteError(
            f"to push a model to {repo}",
            f"a repository that no vlpzoo export filled: {', '.join(others[:5])}",
            "choose another name; nothing was pushed",
        )


def one_line(error: Exception) -> str:
    r"""Kind and first line of an error of another library, at most 200 characters.

    Example:
        >>> one_line(ValueError("no such thing\nand a long story"))
        'ValueError: no such thing'
    """
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
