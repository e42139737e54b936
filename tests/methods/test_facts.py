"""What `vlpzoo info methods` says of each method is true of its class."""

from __future__ import annotations

import importlib

import pytest

from vlp_zoo.methods import METHODS
from vlp_zoo.methods.facts import FACTS
from vlp_zoo.parity import REPLAYS


@pytest.mark.parametrize("name", METHODS)
def test_facts_are_those_of_the_class(name: str) -> None:
    module, _, kind = METHODS[name].rpartition(".")
    method = getattr(importlib.import_module(module), kind)
    facts = FACTS[name]
    assert facts.joint_space == method.has_text_head
    assert "image" in facts.needs
    reads = "report" in facts.needs
    assert reads == any(
        "text" in key or key == "input_ids" for key in method.batch_keys
    )
    assert ("parity: recordings" in facts.line(name in REPLAYS)) == (name in REPLAYS)
    assert facts.parameters > 1
    assert facts.cost > 1


def test_no_facts_of_what_is_not_there() -> None:
    assert FACTS.keys() == METHODS.keys()
