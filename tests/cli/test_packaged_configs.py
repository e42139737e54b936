"""Packaged configs of training: every value is one that the method and the data take."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from vlp_zoo.cli.names import config_names


def built(section: Any) -> Any:
    """The class of a parsed section, made with the section's values."""
    module, _, name = section["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(
        **section["init_args"].as_dict()
    )


@pytest.mark.parametrize("name", config_names())
def test_method_and_data_take_every_value(
    name: str, parse: Callable[[list[str]], Any]
) -> None:
    parsed = parse(["fit", "--config", name])
    for section in ("model", "data"):
        # Values that contradict each other are refused by the class itself.
        built(parsed[section])


def test_the_recipe_needs_a_table_and_nothing_else(
    parse: Callable[[list[str]], Any],
) -> None:
    parsed = parse(["fit", "--config", "recipes/cxr-small", "--data.path", "my.csv"])
    assert str(parsed["data"]["init_args"]["path"]) == "my.csv"
    module = built(parsed["model"])
    assert module.options.warm_start.startswith("wheel:")
    assert module.options.text_model == "corpus"
