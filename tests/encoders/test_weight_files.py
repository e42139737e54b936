"""Files of other code: wrappers' names, carriers of options, and what is refused."""

from __future__ import annotations

import argparse
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict

from vlp_zoo.encoders.published.official import asg_name, ecamp_name
from vlp_zoo.encoders.weight_files import bare, read_checkpoint, unwrapped
from vlp_zoo.errors import EncoderLoadError
from vlp_zoo.parity.imitate.recording import imitate_name

PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.module.",
    "model._orig_mod.module.",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrappers_are_taken_off_however_many_there_are(prefix: str) -> None:
    assert bare(prefix + "norm.weight") == "norm.weight"
    assert ecamp_name(prefix + "mask_token") == "decoder.mask_token"
    assert asg_name(prefix + "irl.mlp_head.0.bias") == "tag_decoder.score.bias"
    assert imitate_name(prefix + "diag_proj.0.bias") == "impression_head.0.bias"


def test_a_compiled_part_of_a_model_is_found() -> None:
    assert bare("img_encoder_q._orig_mod.model.norm.bias") == (
        "img_encoder_q.model.norm.bias"
    )


def test_names_of_layers_are_no_wrappers() -> None:
    for name in ("modules.0.weight", "model_x.weight", "layer1.0.module_list.bias"):
        assert bare(name) == name


def test_two_tensors_of_one_name_are_refused() -> None:
    state = {"module.a": torch.zeros(1), "a": torch.ones(1)}
    with pytest.raises(EncoderLoadError, match="two for a "):
        unwrapped(state, "a file")


@pytest.mark.parametrize(
    "nest", [("model",), ("state_dict", "model"), ("model", "net", "state_dict"), ()]
)
def test_nested_state_dicts_are_found(nest: tuple[str, ...], tmp_path: Path) -> None:
    content: Any = {"_orig_mod.a": torch.ones(2)}
    for name in reversed(nest):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "c.pth")
    assert set(read_checkpoint(tmp_path / "c.pth")) == {"a"}


class Foreign:
    """Stands for a class of a package that is not installed."""

    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


class ForeignMap(dict[str, object]):
    """The same, for subclasses of dict."""


def renamed(
    monkeypatch: pytest.MonkeyPatch, kind: type, module: str, name: str
) -> type:
    """The class as a file of its real package would name it."""
    made = type(name, (kind,), {"__module__": module})
    for end in range(module.count(".") + 1):
        outer = ".".join(module.split(".")[: end + 1])
        if outer not in sys.modules:
            monkeypatch.setitem(sys.modules, outer, types.ModuleType(outer))
    monkeypatch.setattr(sys.modules[module], name, made, raising=False)
    return made


def test_options_and_numbers_beside_the_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = renamed(monkeypatch, Foreign, "omegaconf.dictconfig", "DictConfig")
    node = renamed(monkeypatch, Foreign, "omegaconf.nodes", "AnyNode")
    easy = renamed(monkeypatch, ForeignMap, "easydict", "EasyDict")
    old = renamed(
        monkeypatch, ForeignMap, "pytorch_lightning.utilities.parsing", "AttributeDict"
    )
    content = {
        "state_dict": {"a": torch.ones(2)},
        "best": np.float64(0.5),
        "step": np.int64(3),
        "done": np.bool_(True),
        "curve": np.arange(3.0),
        "args": argparse.Namespace(lr=np.float32(1e-3), out=Path("x")),
        "hyper_parameters": AttributeDict(width=3, nested=AttributeDict(a=1)),
        "older": old(width=3),
        "config": config(_content={"lr": node(_val=1e-3)}, _type=dict),
        "easy": easy(lr=1),
    }
    path = tmp_path / "c.ckpt"
    torch.save(content, path)
    for module in ("omegaconf.dictconfig", "omegaconf.nodes", "easydict"):
        monkeypatch.delitem(sys.modules, module)
    assert set(read_checkpoint(path)) == {"a"}


class Runs:
    """What a malicious file would hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("made_by_a_file",))


class Unknown:
    """A class that no list allows."""


@pytest.mark.parametrize("odd", [Runs(), Unknown()])
def test_anything_else_is_refused_by_name_and_not_run(
    odd: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": torch.ones(1)}, "odd": odd}, "c.pth")
    name = "mkdir" if isinstance(odd, Runs) else "Unknown"
    with pytest.raises(
        EncoderLoadError, match=rf"(?s){name}, not loaded.*save its tensors"
    ):
        read_checkpoint(Path("c.pth"))
    assert not Path("made_by_a_file").exists()


def test_the_list_of_carriers_is_in_force_while_reading_only(tmp_path: Path) -> None:
    before = set(map(str, torch.serialization.get_safe_globals()))
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "c.pth")
    read_checkpoint(tmp_path / "c.pth")
    assert set(map(str, torch.serialization.get_safe_globals())) == before
