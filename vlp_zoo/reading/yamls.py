"""YAML of other people: plain values, or one message.

A config is read by a person and by several libraries, so it is held to what all of them
read alike: UTF-8, no tags that build objects, each key once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError
from vlp_zoo.reading.files import read_bytes

__all__ = ["parse_yaml", "read_yaml"]

LARGEST = 2**20
"""Bytes of a file; the longest packaged config has 4 kB."""

MOST_VALUES = 100_000
"""Values once aliases are written out: nine lines of aliases can stand for 10^9."""


def read_yaml(path: Path, what: str = "the config file") -> Any:
    """What a YAML file holds.

    Args:
        path: The file.
        what: For the message.

    Raises:
        DatasetNotFoundError: If there is no such regular file.
        ConfigError: If it is no UTF-8, or no YAML of plain values.
    """
    content = read_bytes(path, what)
    try:
        if len(content) > LARGEST:
            raise ValueError(f"{len(content)} bytes, more than {LARGEST}")
        return parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ConfigError(
            f"YAML in {path}",
            " ".join(str(error).split()),
            "mend the file, and save it as UTF-8",
        ) from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Args:
        text: One document.

    Raises:
        ValueError: If it is none, names a class to build, has a key twice, nests too
            deeply, or comes to too many values.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            _count(node, {}, set())
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("values nested too deeply") from None


def _count(node: Any, sizes: dict[int, int], above: set[int]) -> int:
    """Values below a node with its aliases written out."""
    import yaml

    if id(node) in above:
        raise ValueError(f"a value inside itself{node.start_mark}")
    if id(node) not in sizes:
        above.add(id(node))
        below: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            keys = [k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
            for key in keys:
                if keys.count(key) > 1 and key != "<<":
                    raise ValueError(f"the key {key!r} twice{node.start_mark}")
            below = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            below = node.value
        size = 1 + sum(_count(each, sizes, above) for each in below)
        if size > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values with aliases written out")
        sizes[id(node)] = size
        above.discard(id(node))
    return sizes[id(node)]
