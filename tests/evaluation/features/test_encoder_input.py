from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.evaluation.classification.classifier import Classifier, Recipe
from vlp_zoo.evaluation.features.encoder_input import EachOnce, encoder_input
from vlp_zoo.evaluation.training.decoders import DenseEncoder

CARD = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}


def test_bytes_are_normalised_by_channel() -> None:
    images = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([2.5, -2.0, -1.0])
    torch.testing.assert_close(encoder_input(images, CARD).flatten(), expected)


def test_grey_images_fill_all_channels_and_colour_becomes_grey() -> None:
    grey = torch.full((2, 1, 4, 4), 51, dtype=torch.uint8)
    assert torch.equal(
        encoder_input(grey, CARD), encoder_input(grey.repeat(1, 3, 1, 1), CARD)
    )
    colours = torch.tensor([0, 51, 102], dtype=torch.uint8).view(1, 3, 1, 1)
    one = {"mean": [0.0], "std": [1.0], "channels": 1}
    torch.testing.assert_close(
        encoder_input(colours, one), torch.full((1, 1, 1, 1), 0.2)
    )


class Doubled:
    """An encoder that counts the images it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.seen += len(images)
        return [images.float() * 2, images.float().mean((1, 2, 3))]


def drawn(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 4, 4), generator=generator).byte()


def test_each_image_is_encoded_once_whatever_batch_it_is_in() -> None:
    images, encode, once = drawn(6), Doubled(), EachOnce()
    for order in ([0, 1, 2], [2, 3], [5, 0, 4, 3], [1]):
        doubled, means = once(images[order], encode)
        assert torch.equal(doubled, images[order].float() * 2)
        assert torch.equal(means, images[order].float().mean((1, 2, 3)))
    assert encode.seen == 6
    changed = images[:1].clone()
    changed[0, 0, 0, 0] ^= 1
    once(changed, encode)
    assert encode.seen == 7


def test_what_does_not_fit_is_encoded_again() -> None:
    images, encode = drawn(4), Doubled()
    once = EachOnce(limit=2 * (16 * 4 + 4))
    for _ in range(3):
        assert torch.equal(once(images, encode)[0], images.float() * 2)
    assert encode.seen == 4 + 2 + 2


def test_copies_begin_empty() -> None:
    once, encode = EachOnce(limit=1000), Doubled()
    once(drawn(2), encode)
    copy = pickle.loads(pickle.dumps(once))
    assert copy.limit == 1000
    copy(drawn(2), encode)
    assert encode.seen == 4


@pytest.mark.parametrize("spec", ["random:micro", "random:tiny_resnet"])
def test_maps_that_are_kept_are_those_that_are_made(spec: str) -> None:
    encoder = load_encoder(spec)
    plain, kept = DenseEncoder(encoder), DenseEncoder(encoder, again=True)
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, plain.size, plain.size)
    images = torch.randint(0, 256, shape, generator=generator).byte()
    head = torch.nn.Conv2d(plain.channels[-1], 2, 1)
    # Looked at while predicting, then learnt from: no inference tensor may be left.
    with torch.inference_mode():
        kept(images[:2])
    for _ in range(2):
        maps = kept(images)
        for mine, other in zip(maps, plain(images), strict=True):
            torch.testing.assert_close(mine, other)
        head(maps[-1]).sum().backward()
    assert head.weight.grad is not None
    assert DenseEncoder(encoder, frozen=False, again=True).each_once is None


def test_a_head_learns_the_same_from_features_that_are_kept() -> None:
    encoder = load_encoder("random:micro")
    recipe = Recipe(frozen=True, augment="none")
    heads = []
    for keep in (True, False):
        torch.manual_seed(0)
        learner = Classifier(encoder, 2, recipe)
        assert learner.each_once is not None
        if not keep:
            learner.each_once = None
        side = learner.preprocessing["image_size"]
        generator = torch.Generator().manual_seed(0)
        shape = (6, 1, side, side)
        images = torch.randint(0, 256, shape, generator=generator).byte()
        labels = torch.tensor([[0.0, 1.0]] * 3 + [[1.0, 0.0]] * 3)
        optimiser = torch.optim.SGD(learner.parameter_groups(0.1), lr=0.1)
        for part in ([0, 3, 5], [1, 2, 4], [5, 4, 0], [3, 1, 2]):
            optimiser.zero_grad()
            batch = {"image": images[part], "labels": labels[part]}
            torch.autograd.backward(learner.loss(batch))
            optimiser.step()
        heads.append(learner.head.weight.detach())
    assert heads[0].abs().sum() > 0
    torch.testing.assert_close(heads[0], heads[1])
    for other in (Recipe(frozen=True), Recipe(augment="none")):
        assert Classifier(encoder, 2, other).each_once is None
