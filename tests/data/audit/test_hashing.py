from __future__ import annotations

import cv2
import numpy as np
import pytest

from vlp_zoo.data.audit import hashing
from vlp_zoo.data.audit.hashing import hash_words, near_pairs


def _pictures(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, 8, 8), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def test_near_pairs_are_those_of_a_full_comparison() -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 2**64, 300, dtype=np.uint64)
    # Queries up to nine bits away from something stored, so that both sides of the
    # radius are hit.
    asked = stored[rng.integers(0, 300, 400)].copy()
    for i in range(400):
        for bit in rng.choice(64, i % 10, replace=False):
            asked[i] ^= np.uint64(1) << np.uint64(bit)
    expected = np.argwhere(np.bitwise_count(asked[:, None] ^ stored) <= 4)
    found = np.concatenate(
        [np.stack(pair, 1) for pair in near_pairs(asked, stored, chunk=37)]
    )
    assert len(expected) >= 200
    assert {(int(a), int(b)) for a, b in found} == {
        (int(a), int(b)) for a, b in expected
    }
    assert len(found) == len(expected)


def test_the_radius_is_what_the_bands_can_promise() -> None:
    words = np.zeros(2, np.uint64)
    with pytest.raises(ValueError, match="four bits"):
        list(near_pairs(words, words, radius=5))


def test_a_mirrored_hash_is_the_hash_of_the_mirrored_picture() -> None:
    pictures = _pictures(20)
    straight = hash_words(np.ascontiguousarray(pictures[:, :, ::-1]))
    turned = hash_words(pictures, mirror=True)
    assert (straight == turned).all()
    assert (np.bitwise_count(hash_words(pictures)[:, 0] ^ turned[:, 0]) > 8).all()


def test_a_cropped_hash_is_the_hash_of_the_crop() -> None:
    smooth = np.stack([cv2.GaussianBlur(p, (0, 0), 2) for p in _pictures(20)])
    crops = np.stack(
        [
            cv2.resize(p[8:56, 8:56], (64, 64), interpolation=cv2.INTER_LINEAR)
            for p in smooth
        ]
    )
    asked = hash_words(smooth, scale=0.75)
    distance = np.bitwise_count(asked[:, 0] ^ hash_words(crops)[:, 0])
    assert distance.max() <= 4
    assert (np.bitwise_count(asked[:, 0] ^ hash_words(smooth)[:, 0]) > 8).all()


def test_contrast_does_not_change_a_hash() -> None:
    pictures = _pictures(10)
    pale = (pictures // 2 + 60).astype(np.uint8)
    distance = np.bitwise_count(hash_words(pictures)[:, 0] ^ hash_words(pale)[:, 0])
    assert distance.max() <= 4


@pytest.mark.parametrize("scale", [1.0, 0.9, 0.75])
def test_a_hash_is_the_same_in_whatever_order_products_are_summed(scale: float) -> None:
    """Against integer arithmetic, which no processor's matrix product can change."""
    pictures = np.random.default_rng(2).integers(0, 256, (30, 64, 64), np.uint8)
    cosines = hashing._cosines(scale)
    whole = cosines.astype(np.int64)
    assert (whole == cosines).all()
    exact = np.einsum("ui,nij,vj->nuv", whole, pictures.astype(np.int64), whole)
    assert np.abs(exact).max() < 2**53
    shuffled = np.random.default_rng(3).permutation(64)
    products = cosines[:, shuffled] @ pictures[:, shuffled].astype(np.float64)
    assert (products @ cosines.T == exact).all()


KNOWN = ["100c87f57e50051b", "be8910a4f254f54d", "a66343913a2e2834"]


def test_known_hashes() -> None:
    """Pinned, so that prints stored on one machine are found again on another."""
    words = hash_words(_pictures(3))
    assert [f"{int(word):016x}" for word in words[:, 0]] == KNOWN
