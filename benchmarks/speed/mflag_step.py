"""Cost of an M-FLAG training step at paper scale, as a multiple of a plain ResNet-50.

    python benchmarks/speed/mflag_step.py [--rounds 5] [--threads 2]

A step is ResNet-50 at 224 px, both losses, backward and AdamW, batch 8, float32; reports of
100 tokens are embedded once by a frozen BERT-base of random weights, or in every step,
without padding or, as the released code does, with padding to 512 tokens. `steps` says how
it is measured.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from steps import Step, Variants, frozen_bert, images, run, texts, training_step


def mflag_step(batch: int, tokens: int = 100, cached: bool = False) -> Step:
    """One training step on so many studies."""
    import torch

    from vlp_zoo.methods.mflag.mflag import MFLAG

    with tempfile.TemporaryDirectory() as folder:
        bert = frozen_bert(Path(folder))
        module = MFLAG(text_model=bert, cache_text=cached)
        module.configure_model()
    fields = {
        "uid": [str(i) for i in range(batch)],
        "image": images(batch, 224),
        "report_text": texts(batch, tokens - 2),
        "has_report": torch.ones(batch, dtype=torch.bool),
    }
    if cached:
        module.frozen().fill(fields["report_text"])
    return training_step(module, fields)


VARIANTS: Variants = {
    "embedded once": partial(mflag_step, cached=True),
    "embedded in every step": mflag_step,
    # A padded token costs what a token does.
    "embedded in every step, 512 tokens": partial(mflag_step, tokens=512),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("resnet50", 224), 8))
