"""Which size should an encoder read? Validation patients only.

    python benchmarks/learning/read_sizes.py RUN TABLE.csv 192 224 256

An encoder that was trained on `--data pairs` is probed with images of each size, with the
weights that it has. What is printed is the largest macro AUROC of validation patients over
the probe's regularisation (`validation_macro_auroc`), which is what a setting may be chosen on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import vlp_zoo as vz
from vlp_zoo.encoders.image import ImageEncoder


def sized(encoder: ImageEncoder, side: int) -> ImageEncoder:
    """The same weights for square images of another size.

    Args:
        encoder: A convolutional encoder; others know one size.
        side: Pixels.

    Raises:
        ConfigError: If its weights are for one size.
    """
    resized = encoder.at_size(side)
    resized.load_state_dict(encoder.state_dict())
    return resized.eval()


def main() -> int:
    """Probe the encoder at each size and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder", help="a run folder, or an encoder's file")
    parser.add_argument("table", help="of images, as the training read it")
    parser.add_argument("sizes", type=int, nargs="+", help="pixels")
    parser.add_argument("--val-fraction", type=float, default=0.2)
    parser.add_argument("--test-fraction", type=float, default=0.33)
    parser.add_argument("--out", type=Path, default=Path("runs/read-sizes"))
    options = parser.parse_args()
    trained = vz.load_encoder(options.encoder)
    if not isinstance(trained, ImageEncoder):
        parser.error(f"{options.encoder}: not an encoder that vlpzoo fit exports")
    rows = vz.evaluate(
        {f"{side} px": sized(trained, side) for side in options.sizes},
        [f"pairs:{options.table}"],
        ["vlp-linear"],
        out=options.out,
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        views=["FRONTAL"],
        baselines=False,
    )
    for row in rows:
        if row.metric == "macro_auroc":
            best = max(row.details["validation_macro_auroc"])
            print(f"{row.encoder}: {best:.3f} on validation patients")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
