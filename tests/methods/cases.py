"""A small module of every method, and a batch for it: what tests of all methods run on."""

from __future__ import annotations

from typing import Any

from tests.methods import (
    paired,
    test_clip,
    test_flair,
    test_gloria,
    test_mae,
    test_medclip,
    test_mflag,
    test_mgca,
    test_mrm,
)
from tests.methods.asg import test_asg
from tests.methods.ecamp import test_ecamp
from tests.methods.imitate import test_imitate
from tests.methods.place import test_place
from vlp_zoo.data.base import PairsDataModule
from vlp_zoo.encoders.tokenizer import ReportTokenizer

__all__ = ["BUILDERS", "case"]


def build_ecamp(**options: Any) -> Any:
    return test_ecamp.build(ReportTokenizer.train(paired.REPORTS * 5, 160), **options)


BUILDERS: dict[str, Any] = {
    "asg": test_asg.build,
    "clip": test_clip.build,
    "ecamp": build_ecamp,
    "flair": test_flair.build,
    "gloria": test_gloria.build,
    "imitate": test_imitate.build,
    "mae": test_mae.build,
    "medclip": test_medclip.build,
    "mflag": test_mflag.build,
    "mgca": test_mgca.build,
    "mrm": test_mrm.build,
    "place": test_place.build,
}
"""Name of a method to what builds a small one."""


def case(name: str, **options: Any) -> tuple[Any, Any]:
    """A small module of a method and a batch as a device would get it."""
    module = BUILDERS[name](**options)
    files: dict[str, Any] = {"ecamp": test_ecamp, "imitate": test_imitate}
    batch = files.get(name, paired).batch_of(module)
    return module.train(), PairsDataModule.on_before_batch_transfer(module, batch, 0)
