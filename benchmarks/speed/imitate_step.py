"""Cost of an IMITATE training step at paper scale, as a multiple of a plain ResNet-50.

    python benchmarks/speed/imitate_step.py [--rounds 5] [--threads 2]

A step is both views of 8 images of 224 px through ResNet-50 and the branches, eight
loss terms, backward and AdamW, in float32. Texts are findings of 128 and impressions of
64 tokens for a frozen BERT-base of random weights: embedded before, or in every step.
``embedding alone`` is what the former costs, once for each text. The released code needs
about 6.0 yardsticks, measured on two cores. `steps` says how it is measured.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from steps import Step, Variants, frozen_bert, images, run, texts, training_step

FINDINGS, IMPRESSION = 128, 64
"""Tokens, with the two special ones."""


def imitate_step(batch: int, cached: bool) -> Step:
    """One training step on so many studies."""
    module, fields = _built(batch, cached)
    if cached:
        module.frozen().fill([*fields["findings_text"], *fields["impression_text"]])
    return training_step(module, fields)


def embedding_step(batch: int) -> Step:
    """The texts of so many studies through the frozen encoder."""
    module, fields = _built(batch, False)
    said = [*fields["findings_text"], *fields["impression_text"]]
    return lambda: float(module.text_features(said).sum())


def _built(batch: int, cached: bool) -> tuple[Any, dict[str, Any]]:
    import torch

    from vlp_zoo.methods.imitate.imitate import IMITATE

    with tempfile.TemporaryDirectory() as folder:
        bert = frozen_bert(Path(folder))
        module = IMITATE(text_model=bert, cache_text=cached)
        module.configure_model()
    return module, {
        "uid": [str(i) for i in range(batch)],
        "image": images(batch, 224),
        "image_view2": images(batch, 224),
        "noise_key": torch.arange(batch),
        "findings_text": texts(batch, FINDINGS - 2),
        "impression_text": texts(batch, IMPRESSION - 2),
        "has_findings": torch.ones(batch, dtype=torch.bool),
        "has_impression": torch.ones(batch, dtype=torch.bool),
    }


VARIANTS: Variants = {
    "text cached": partial(imitate_step, cached=True),
    "text uncached": partial(imitate_step, cached=False),
    "embedding alone": embedding_step,
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("resnet50", 224), 8))
