"""``vlpzoo convert``: turn any encoder, official checkpoints included, into ours."""

from __future__ import annotations

from pathlib import Path

from vlp_zoo.bench.encoders import sources_of
from vlp_zoo.cli.parser import Parser
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.encoders.specs import origin
from vlp_zoo.files import require_writable

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Write ``encoder.safetensors`` and its card."""
    parser = Parser(
        prog="vlpzoo convert",
        description="Turn a released checkpoint into an encoder file that a stock timm "
        "model loads with strict=True.",
        epilog=f"layouts: {', '.join(LAYOUTS)}. Checkpoints are unpickled safely "
        "(weights_only=True).",
    )
    parser.add_argument("source", metavar="official:LAYOUT:FILE")
    parser.add_argument("folder", type=Path, metavar="OUTDIR")
    parser.add_argument(
        "--licence", default="unknown", help="terms of the weights, for the card"
    )
    options = parser.parse_args(argv)
    require_writable(options.folder)

    from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder

    encoder = load_encoder(options.source)
    card = {
        "origin": origin(options.source),
        "weights_licence": options.licence,
        "pretraining_sources": sources_of(options.source),
    }
    path = save_encoder(options.folder / "encoder.safetensors", encoder, card)
    count = sum(parameter.numel() for parameter in encoder.timm.parameters())
    print(f"{path}  {count / 1e6:.2f} M parameters, {encoder.image_size} px")
    print(f"evaluate it: vlpzoo bench --encoder {path}")
    return 0
