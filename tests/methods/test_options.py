"""Options are said once: a field is the flag, the default, the help and the hparam."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.loading import method_class, option_names
from vlp_zoo.methods.mae import MAE
from vlp_zoo.methods.stored import load_method

TINY: dict[str, Any] = {
    "image_encoder": "micro",
    "image_size": 32,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> Any:
    return method_class(METHODS[request.param])


def test_flags_are_the_fields_and_each_has_a_help(method: Any) -> None:
    options = method().options
    assert sorted(option_names(method)) == sorted(one.name for one in fields(options))
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(method)
    described = {a.dest: a.help for a in parser._actions if a.dest != "help"}
    assert {name for name, text in described.items() if not text} == set()
    assert parser.get_defaults().as_dict() == asdict(options)


def test_checkpoints_keep_every_option_and_nothing_else(method: Any) -> None:
    module = method(image_size=96)
    assert dict(module.hparams) == asdict(module.options)
    assert module.hparams["image_size"] == 96


def test_options_do_not_change_behind_the_networks(method: Any) -> None:
    options: Any = method().options
    with pytest.raises(FrozenInstanceError):
        options.image_size = 96


def test_a_method_stands_on_two_others_at_most(method: Any) -> None:
    ours = [storey for storey in method.__mro__ if "vlp_zoo" in storey.__module__]
    assert VLPModule in ours
    assert len(ours) <= 3


def test_unknown_options_and_wrong_values_are_refused(method: Any) -> None:
    with pytest.raises(TypeError, match="mask_ration"):
        method(mask_ration=0.5)
    with pytest.raises(ConfigError, match=r"--model\.betas"):
        method(betas=[0.9])


def test_options_that_older_releases_stored_beside_are_left_out(tmp_path: Path) -> None:
    module = MAE(**TINY)
    module.configure_model()
    checkpoint: dict[str, Any] = {
        "state_dict": module.state_dict(),
        # Older releases stored these two for methods that read no report as well.
        "hyper_parameters": {**module.hparams, "tokenizer": "corpus", "vocab_size": 9},
    }
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "old.ckpt")
    again = load_method(tmp_path / "old.ckpt")
    assert again.options == module.options
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
