from __future__ import annotations

import torch

from vlp_zoo.noise import sample_noise


def test_noise_follows_the_sample_and_not_the_batch() -> None:
    keys = torch.randint(0, 2**62, (32,), generator=torch.Generator().manual_seed(1))
    whole = sample_noise(keys, 50)
    halves = torch.cat([sample_noise(keys[:10], 50), sample_noise(keys[10:], 50)])
    assert torch.equal(whole, halves)
    assert not torch.equal(whole, sample_noise(keys, 50, stream=1))


def test_noise_is_uniform_and_uncorrelated() -> None:
    # Neighbouring keys are the hard case for a hash.
    noise = sample_noise(torch.arange(4000), 64).double()
    assert noise.min() >= 0
    assert noise.max() < 1
    counts = torch.histc(noise, bins=20, min=0, max=1)
    expected = noise.numel() / 20
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 50  # 19 degrees of freedom: p = 1e-4
    correlation = torch.corrcoef(noise.T) - torch.eye(64)
    assert correlation.abs().max() < 5 / 4000**0.5
    lag = torch.corrcoef(torch.stack([noise[:-1].ravel(), noise[1:].ravel()]))[0, 1]
    assert abs(float(lag)) < 5 / noise.numel() ** 0.5
