from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vlp_zoo.modules import (
    MAEDecoder,
    MultiHeadAttention,
    attend,
    attention_map,
    bert_layers,
    dropout,
    mask_patches,
)


def test_masking_keeps_the_smallest_noise() -> None:
    noise = torch.rand(3, 10)
    mask = mask_patches(noise, 0.75)
    assert mask.keep_ids.shape == (3, 2)
    for b in range(3):
        values = noise[b].tolist()
        order = sorted(range(10), key=values.__getitem__)
        assert mask.keep_ids[b].tolist() == order[:2]
        assert set(mask.hidden[b].nonzero().flatten().tolist()) == set(order[2:])
        assert [order[i] for i in mask.restore_ids[b].tolist()] == list(range(10))
    assert mask_patches(torch.rand(1, 100), 0.9).keep_ids.shape[1] == 10
    assert mask_patches(torch.rand(1, 4), 0.99).keep_ids.shape[1] == 1


def test_the_decoder_puts_visible_patches_back_in_place() -> None:
    torch.manual_seed(0)
    decoder = MAEDecoder(4, 2, torch.zeros(1, 10, 8), depth=0).eval()
    mask = mask_patches(torch.rand(2, 9), 0.5)
    latent = torch.randn(2, 1 + mask.keep_ids.shape[1], 4)
    pixels = decoder(latent, mask.restore_ids)
    alone = decoder.predict(decoder.norm(decoder.embed(latent[:, 1:])))
    blank = decoder.predict(decoder.norm(decoder.mask_token[0]))
    for b in range(2):
        assert torch.allclose(pixels[b, mask.keep_ids[b]], alone[b], atol=1e-6)
        hidden = pixels[b, mask.hidden[b]]
        assert torch.allclose(hidden, blank.expand_as(hidden), atol=1e-6)


def test_patches_become_an_image_row_column_channel() -> None:
    decoder = MAEDecoder(4, 2, torch.zeros(1, 10, 8), depth=0)
    pixels = torch.arange(9 * 12.0).view(1, 9, 12)
    image = decoder.image(pixels)
    assert image.shape == (1, 3, 6, 6)
    # Patch 5 is row 1, column 2; inside it row 1, column 0, channel 2.
    assert image[0, 2, 3, 4] == pixels[0, 5, (1 * 2 + 0) * 3 + 2]


def test_dropout_keeps_the_mean_and_the_rate() -> None:
    torch.manual_seed(0)
    ones = torch.ones(401, 503, requires_grad=True)
    dropped = dropout(ones, 0.1, training=True)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.003)
    assert float(dropped.mean().detach()) == pytest.approx(1.0, abs=0.003)
    kept = dropped[dropped > 0]
    assert torch.allclose(kept, torch.tensor(1 / 0.9), rtol=1e-3)
    (gradient,) = torch.autograd.grad(dropped.sum(), ones)
    assert torch.equal(gradient, dropped.detach())
    assert dropout(ones, 0.1, training=False) is ones
    torch.manual_seed(0)
    assert torch.equal(dropout(ones, 0.1, training=True), dropped)


def test_attention_written_out_equals_the_kernel() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 5, 4).unbind()
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    kernel = attend(query, key, value, mask, 0.0)
    written = attend(query, key, value, mask, 1e-9)
    assert torch.allclose(kernel, written, atol=1e-6)
    assert torch.allclose(
        attend(query, key, value, None, 0.0),
        functional.scaled_dot_product_attention(query, key, value)
        .transpose(1, 2)
        .flatten(2),
    )


def test_the_attention_map_is_what_the_values_are_weighted_with() -> None:
    attention = MultiHeadAttention(8, 1).eval()
    queries, context = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    query, key, value = attention.project(queries, context)
    shown = attention_map(query, key)
    assert torch.allclose(shown.sum(-1), torch.ones(2, 3))
    assert torch.allclose(shown @ value[:, 0], attention(queries, context), atol=1e-6)


@pytest.mark.parametrize("keys", [None, 4])
def test_bert_layers_equal_those_of_transformers(keys: int | None) -> None:
    from vlp_zoo.encoders.text import TextEncoder

    torch.manual_seed(0)
    encoder = TextEncoder(30, 12, 2, 3, 16, max_positions=9).eval()
    hidden = torch.randn(2, 9, 12)
    mask = torch.arange(9) < torch.tensor([[4], [2]])
    ours = bert_layers(encoder.bert.encoder.layer, hidden, mask, keys)
    assert torch.allclose(ours, encoder.layers(hidden, mask), atol=1e-5)
