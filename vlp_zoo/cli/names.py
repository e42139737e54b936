"""Short names: what a user may type, and the class or file it stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from vlp_zoo.errors import UnknownNameError

__all__ = ["config_names", "configs_folder", "unknown_name"]

def unknown_name(
    kind: str, name: str, known: Iterable[str], do_this: str
) -> UnknownNameError:
    """The error for a name that is not known, with the nearest one that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return UnknownNameError(
        f"a {kind} called {name!r}",
        f"the known ones are {', '.join(known)}",
        f"{guess}{do_this}",
    )


def configs_folder() -> Path:
    """The folder of packaged configs: inside a wheel, or at the top of a checkout."""
    inside = Path(__file__).parent.parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def config_names() -> list[str]:
    """Names of the packaged configs, such as ``demo/ecamp``."""
    folder = configs_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.yaml")
    )
