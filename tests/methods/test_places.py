"""Places of images in the joint space: only where a method's objective gives them one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.methods import test_clip, test_gloria, test_medclip, test_mflag
from tests.methods.asg import test_asg
from tests.methods.imitate import test_imitate
from tests.methods.paired import REPORTS, batch_of
from tests.methods.place import test_place
from vlp_zoo.methods.asg.regions import sentence_means

PHRASES = ["Small right effusion.", "edema", "Lungs are clear; no edema."]


def images(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 48, 48), generator=generator).byte()


def assert_places(module: Any, grid: tuple[int, int]) -> Any:
    """Unit vectors on the grid, each image's its own; phrases beside them."""
    module.eval()
    with torch.no_grad():
        places = module.embed_patches(images())
        phrases = module.embed_phrases(PHRASES)
        alone = module.embed_patches(images()[1:])
        again = module.embed_phrases(PHRASES[1:2])
    assert places.shape == (2, phrases.shape[1], *grid)
    assert torch.allclose(places.norm(dim=1), torch.ones(2, *grid), atol=1e-5)
    assert torch.allclose(phrases.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(places[1:], alone, atol=1e-5)
    assert torch.allclose(phrases[1:2], again, atol=1e-5)
    assert not torch.allclose(phrases[0], phrases[1], atol=1e-3)
    assert places.std((2, 3)).max() > 1e-4
    return places


@pytest.mark.parametrize("encoder", ["tiny_resnet", "micro"])
def test_clip_has_places_where_its_head_is_linear(encoder: str) -> None:
    size = 48 if encoder == "tiny_resnet" else 32
    module = test_clip.build(image_encoder=encoder, image_size=size, head_width=0)
    assert_places(module, module.image_encoder.grid)
    with torch.no_grad():
        found = module.image_encoder(module.image_encoder.prepare(images()))
        whole = module.image_head(found.tokens).mean(1)
        assert torch.allclose(
            functional.normalize(whole, dim=1), module.embed_images(images()), atol=1e-5
        )
    bent = test_clip.build(image_encoder=encoder, image_size=size).eval()
    with torch.no_grad():
        assert bent.embed_patches(images()) is None
        # Nor where the mean of the places is not what is projected.
        network: Any = module.image_encoder.timm
        width = module.image_encoder.width
        network.forward_head = lambda x, pre_logits: x.flatten(1)[:, :width]
        assert module.embed_patches(images()) is None


def test_medclip_has_places_as_its_head_is_linear() -> None:
    module = test_medclip.build()
    assert_places(module, module.image_encoder.grid)


@pytest.mark.parametrize("kind", [{}, test_gloria.RESNET])
def test_gloria_has_the_places_that_words_attend_to(kind: dict[str, Any]) -> None:
    module = test_gloria.build(**kind).eval()
    places = assert_places(module, module.grid)
    with torch.no_grad():
        found = module.encode_images(module.image_encoder.prepare(images()))[2]
        words, counts = module.read_texts(PHRASES)[0]
        phrases = module.embed_phrases(PHRASES)
    assert found is not None
    unit = functional.normalize(found, dim=2).transpose(1, 2)
    assert torch.allclose(places.flatten(2), unit, atol=1e-5)
    # [CLS] and [SEP] are not said.
    for row, count in enumerate(counts.tolist()):
        said = functional.normalize(words[row, 1:count].sum(0), dim=0)
        assert torch.allclose(phrases[row], said, atol=1e-5)


def test_asg_has_the_places_of_its_regions() -> None:
    module: Any = test_asg.build().eval()
    places = assert_places(module, module.grid)
    said = module.pieces_of(PHRASES[:2])
    with torch.no_grad():
        run = module.run(module.image_encoder.prepare(images()), said)
        # One cell of the grid is a region whose feature is that of its place.
        side = module.options.image_size / module.grid[0]
        box = torch.tensor([[[side, 0.0, 2 * side, side]]]).repeat(2, 1, 1)
        region = module.region_features(run, box, None)
        assert torch.allclose(region[:, 0], places[:, :, 0, 1], atol=1e-5)
        # "small right effusion" is three words.
        counts = torch.zeros(2, 1, run.word_embeddings.shape[1])
        counts[:, :, :3] = 1
        means = functional.normalize(sentence_means(counts, run.word_embeddings), dim=2)
        found = module.embed_phrases(PHRASES[:2])
    assert torch.allclose(found[0], means[0, 0], atol=1e-5)
    assert not torch.allclose(found[1], means[1, 0], atol=1e-3)
    without = test_asg.build(arsa_weight=0.0).eval()
    with torch.no_grad():
        assert without.embed_patches(images()) is None
        same = without.embed_texts(PHRASES)
        assert torch.equal(without.embed_phrases(PHRASES), same)


@pytest.mark.parametrize("text_model", [None, "corpus"])
def test_place_has_the_places_its_observations_look_at(text_model: str | None) -> None:
    module = test_place.build(**({"text_model": text_model} if text_model else {}))
    places = assert_places(module, module.patch_layout()[0])
    batch = batch_of(module, count=8, train=False)
    with torch.no_grad():
        found = module.image_encoder(module.image_encoder.prepare(images()))
        seen = module.extractor(module.patches(found))
        visual = module.visual_observations(seen)
        # The first place, query by query.
        mixed = sum(
            seen.attention[0, q, 0] * visual[0, q] for q in range(len(visual[0]))
        )
        _, states = module.read(batch)
        sentences = module.textual_observations(batch, states)
        phrases = module.embed_phrases([REPORTS[2]])
    assert torch.allclose(
        functional.normalize(mixed, dim=0), places[0, :, 0, 0], atol=1e-5
    )
    # A report of one sentence is a phrase.
    assert torch.allclose(phrases[0], sentences.vectors[2, 0], atol=1e-5)


def test_methods_without_places_say_so() -> None:
    module = test_place.build(pcma_weight=0.0).eval()
    with torch.no_grad():
        assert module.embed_patches(images()) is None
    # IMITATE's findings meet channels and its impression a bent head: no places.
    for other in (test_imitate, test_mflag):
        assert other.build().eval().embed_patches(images()) is None
