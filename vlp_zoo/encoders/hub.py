"""Whether a model of the hub can be had: from the cache, or over the network, quickly.

The libraries that download try again and again when there is no network, for most of a
minute. `require_hub` asks once, with a short limit, before they are called.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlp_zoo.errors import EncoderLoadError

__all__ = ["is_cached", "one_line", "require_hub"]

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


def one_line(error: Exception) -> str:
    r"""Kind and first line of an error of another library, at most 200 characters.

    Example:
        >>> one_line(ValueError("no such thing\nand a long story"))
        'ValueError: no such thing'
    """
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
