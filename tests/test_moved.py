"""Import paths of 0.1 lead to where the modules are now."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from vlp_zoo.moved import MOVED

FACES = {
    "vlp_zoo.data.datamodules": ["MIMICCXR", "Pairs", "PhantomChest", "Prepared"],
    "vlp_zoo.data.phantom.chest": ["PhantomChestSource"],
    "vlp_zoo.data.store": ["PreparedStudies", "open_store"],
    "vlp_zoo.evaluation.alignment": ["Retrieve", "ZeroShot"],
    "vlp_zoo.evaluation.detection": ["Detect"],
    "vlp_zoo.evaluation.features": ["Extraction", "fit_image"],
    "vlp_zoo.evaluation.grounding": ["Ground"],
    "vlp_zoo.evaluation.segmentation": ["Segment"],
    "vlp_zoo.evaluation.statistics": ["interval", "paired_interval"],
    "vlp_zoo.evaluation.training": ["fit"],
    "vlp_zoo.methods.asg": ["ASG", "ASGBatch"],
    "vlp_zoo.methods.ecamp": ["ECAMP", "ECAMPBatch"],
    "vlp_zoo.methods.imitate": ["IMITATE", "IMITATEBatch"],
    "vlp_zoo.methods.paired": ["PairedTransform", "observations"],
    "vlp_zoo.methods.place": ["PLACE"],
}


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_is_the_new_module_and_says_so(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match="is now"):
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old])


@pytest.mark.parametrize("face", sorted(FACES))
def test_modules_that_became_folders_keep_their_names(face: str) -> None:
    module = importlib.import_module(face)
    for name in FACES[face]:
        assert hasattr(module, name)


def test_the_table_costs_nothing_and_hides_nothing() -> None:
    program = (
        "import sys, vlp_zoo; assert 'torch' not in sys.modules\n"
        "try: import vlp_zoo.methods.nothing\n"
        "except ModuleNotFoundError: sys.exit(0)\n"
        "sys.exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
