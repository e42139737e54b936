"""Which installed method wrote a checkpoint, and what its constructor takes."""

from __future__ import annotations

import importlib
from typing import Any

from jsonargparse import ArgumentParser

from vlp_zoo.errors import UnknownNameError
from vlp_zoo.methods import known_methods

__all__ = ["method_class", "option_names"]


def method_class(class_path: str) -> type[Any]:
    """The class that a checkpoint names, if it is one of the installed methods.

    A file never decides what is imported: its name only chooses among `METHODS` and
    the entry points of other packages.

    Args:
        class_path: Module and class.

    Raises:
        UnknownNameError: If no installed method has that class.
    """
    known = known_methods()
    last = class_path.rpartition(".")[2]
    for path in known.values():
        module_name, _, name = path.rpartition(".")
        if name == last:
            found = getattr(importlib.import_module(module_name), name)
            if class_path in (path, f"{found.__module__}.{found.__qualname__}"):
                return found  # type: ignore[no-any-return]
    raise UnknownNameError(
        f"the method {class_path} that wrote the checkpoint",
        f"the installed methods are {', '.join(known)}",
        "install the package that has it, with an entry point in the group "
        "vlp_zoo.methods",
    )


def option_names(method: type[Any]) -> list[str]:
    """Names of a method's options, found as the command line finds them.

    Args:
        method: Its constructor may name them, or pass keywords on to a dataclass.
    """
    names: list[str] = ArgumentParser().add_class_arguments(method)
    return names
