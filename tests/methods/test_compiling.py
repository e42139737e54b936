"""Compiled networks: nothing breaks the graph of an encoder, and no number changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from tests.cli.test_fit import fit, run_folder, state
from tests.methods.cases import case
from vlp_zoo import recomputing
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.compiling import check_compiler, compile_networks
from vlp_zoo.methods.place import matching
from vlp_zoo.methods.place.assignment import assign_together

BREAKS = {
    "asg": 0,
    "clip": 0,
    "ecamp": 4,
    "flair": 0,
    "gloria": 0,
    "imitate": 3,
    "mae": 0,
    "medclip": 0,
    "mflag": 5,
    "mgca": 6,
    "mrm": 4,
    "place": 0,
}
"""How often the graph of all losses together breaks, where a GPU would run them.

ECAMP and MRM pick out the tokens that count before the large projection, MGCA the words
(counted again in each function around it);
IMITATE and M-FLAG look up the features of their texts on the host. Neither is part of what is compiled.
"""


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recomputing, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    recomputing._compiled.cache_clear()
    counters.clear()


def gradients(module: Any, batch: Any) -> list[Tensor]:
    torch.stack(list(module.losses(batch).values())).sum().backward()  # type: ignore[no-untyped-call]
    return [p.grad for p in module.parameters() if p.grad is not None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("ecamp", False),
        pytest.param("ecamp", True, marks=pytest.mark.slow),
        *(
            pytest.param(name, again, marks=pytest.mark.slow)
            for name in (
                "asg",
                "clip",
                "flair",
                "gloria",
                "mae",
                "medclip",
                "mgca",
                "mrm",
                "place",
            )
            for again in (False, True)
        ),
        pytest.param("imitate", False, marks=pytest.mark.slow),
    ],
)
def test_compiled_networks_are_whole_graphs_with_the_same_gradients(
    name: str, again: bool
) -> None:
    plain, batch = case(name)
    # Dropout draws other numbers in compiled code.
    module = copy.deepcopy(plain.eval())
    if again:
        recomputing.recompute_blocks(module)
    parts = compile_networks(module)
    assert parts >= 1
    found = gradients(module, batch)
    assert not counters["graph_break"]
    assert 1 <= counters["stats"]["unique_graphs"] <= 3
    for one, other in zip(found, gradients(plain, batch), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert list(module.state_dict()) == list(plain.state_dict())
    # Nothing is compiled twice, and a copy, as for averaged weights, is a plain one.
    graphs = counters["stats"]["unique_graphs"]
    assert compile_networks(module) == parts
    gradients(module, batch)
    assert counters["stats"]["unique_graphs"] == graphs
    twin = copy.deepcopy(module)
    assert not any(recomputing.is_compiled(part) for part in twin.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "tiny_resnet"])
def test_no_graph_of_an_image_encoder_breaks(name: str) -> None:
    encoder = ImageEncoder(name, 64)
    found = torch._dynamo.explain(encoder)(torch.zeros(2, 3, 64, 64))
    assert found.graph_break_count == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BREAKS))
def test_graph_breaks_of_all_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "assign", assign_together)
    module, batch = case(name)
    found = torch._dynamo.explain(module.losses)(batch)
    assert found.graph_break_count == BREAKS[name]


def test_a_machine_that_cannot_compile_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no compiler here")

    check_compiler(torch.device("cpu"))
    torch._dynamo.reset()
    monkeypatch.setattr(recomputing, "BACKEND", broken)
    with pytest.raises(ConfigError, match="no compiler here"):
        check_compiler(torch.device("cpu"))


@pytest.mark.slow
def test_a_compiled_run_resumes_and_its_encoder_is_a_plain_one(tmp_path: Path) -> None:
    flags = ["--model.compile", "true", "--model.checkpoint_activations", "true"]
    assert fit(tmp_path, *flags, "--trainer.max_epochs", "1") == 0
    assert counters["stats"]["unique_graphs"] >= 1
    folder = run_folder(tmp_path)
    assert fit(tmp_path, *flags, "--ckpt_path", "last") == 0
    names = state(folder / "checkpoints" / "last.ckpt")
    assert not any("_orig_mod" in name for name in names)
    load_encoder(str(folder / "encoder.safetensors"))
