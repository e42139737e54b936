"""What features of an image cost."""

from __future__ import annotations

import time

import pytest
from torch import Tensor

from vlp_zoo.encoders.image import EncoderOutput, ImageEncoder
from vlp_zoo.evaluation.baselines import PixelEncoder
from vlp_zoo.evaluation.features.cost import cost_of, spelt_cost


@pytest.mark.slow
def test_the_cost_of_a_known_network_is_that_of_its_paper() -> None:
    # He et al., CVPR 2016, table 1: 1.8e9 multiply-adds, two operations each.
    found = cost_of(ImageEncoder("resnet18", 224))
    assert 3.55e9 < found["flops"] < 3.7e9
    assert found["parameters"] == sum(
        each.numel() for each in ImageEncoder("resnet18", 224).parameters()
    )
    half, whole = (
        cost_of(ImageEncoder("resnet18", side))["flops"] for side in (96, 192)
    )
    assert whole == 4 * half


def test_images_per_second_are_those_of_its_own_forward_pass() -> None:
    class Slow(ImageEncoder):
        def forward(self, images: Tensor) -> EncoderOutput:
            time.sleep(0.32)
            return super().forward(images)

    found = cost_of(Slow("tiny_resnet", 32))
    assert 5 < found["images_per_second"] <= 50  # 16 images, and never under 0.32 s
    assert found["device"] == "cpu"
    spelt = f"{found['images_per_second']:g} images/s (cpu)"
    assert spelt_cost({"cost": found}).endswith(spelt)


def test_counting_changes_nothing_and_pixels_cost_nothing() -> None:
    encoder = ImageEncoder("tiny_resnet", 64).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert cost_of(encoder) == cost_of(encoder)
    assert encoder.training
    after = encoder.state_dict()
    assert all(before[name].equal(value) for name, value in after.items())
    assert cost_of(PixelEncoder()) == {}
    assert spelt_cost({"command": "vlpzoo bench"}) == ""
