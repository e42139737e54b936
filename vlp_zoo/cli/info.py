"""``vlpzoo info``: what there is, without importing torch."""

from __future__ import annotations

import argparse
import ast
import importlib.util
from pathlib import Path

from vlp_zoo.cli.names import config_names, configs_folder, known

__all__ = ["main"]

TOPICS = ("methods", "datasets", "configs")


def _first_line(class_path: str) -> str:
    """First docstring line of a class, read from its source and not imported."""
    module_name, _, class_name = class_path.rpartition(".")
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        return "(its package is not installed)"
    if spec is None or spec.origin is None:
        return "(its module is not found)"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def main(argv: list[str]) -> int:
    """Print one of the lists.

    Args:
        argv: Options of the sub-command.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog="vlpzoo info", description="List methods, data sets and packaged configs."
    )
    parser.add_argument(
        "topic",
        nargs="?",
        choices=[*TOPICS, "models", "data"],
        help="one list only (models = methods, data = datasets)",
    )
    topic = parser.parse_args(argv).topic
    if topic in (None, "methods", "models"):
        print("methods (--model)")
        for name, path in sorted(known("model").items()):
            print(f"  {name:<16}{_first_line(path)}")
    if topic in (None, "datasets", "data"):
        print("data sets (--data)")
        for name, path in sorted(known("data").items()):
            print(f"  {name:<16}{_first_line(path)}")
    if topic in (None, "configs"):
        print(f"configs (--config), in {configs_folder()}")
        for name in config_names():
            print(f"  {name:<16}{_comment(configs_folder() / f'{name}.yaml')}")
    return 0


def _comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").strip()
