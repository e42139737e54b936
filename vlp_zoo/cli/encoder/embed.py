"""``vlpzoo embed``: features of all images of a folder, as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.cli.parser import Parser, at_least
from vlp_zoo.errors import DataRejectedError, DatasetNotFoundError
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.bench.pictures import Files, Pictures

__all__ = ["main"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2")
SUFFIXES = (*PICTURES, ".dcm", ".dicom")
THUMBNAIL = 48
"""Pixels of an image in the projector; its sprite may be 8192 wide."""


def main(argv: list[str]) -> int:
    """Write the table, and what TensorBoard's projector shows."""
    parser = Parser(
        prog="vlpzoo embed",
        description="Encode all images of a folder and those below it: a Parquet table "
        "with columns image and embedding. Images that cannot be read are named, "
        "counted and left out.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--encoder", required=True, help="the folder of a run, or another spec"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("embeddings.parquet"),
        help="the table (%(default)s)",
    )
    parser.add_argument(
        "--projector",
        type=Path,
        metavar="DIR",
        help="write the same with thumbnails for tensorboard --logdir DIR",
    )
    parser.add_argument(
        "--colour", action="store_true", help="photographs, not radiographs"
    )
    parser.add_argument("--batch-size", type=at_least(1), default=64)
    options = parser.parse_args(argv)
    for folder in (options.out.parent, options.projector or options.out.parent):
        require_writable(folder)
    if not options.folder.is_dir():
        raise DatasetNotFoundError(
            f"a folder {options.folder}",
            "a file" if options.folder.exists() else "no such folder",
            "give the folder that has the images",
        )
    paths = sorted(
        path
        for path in options.folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )

    import numpy as np
    import pandas as pd

    from vlp_zoo.bench.encoders import encoder_file
    from vlp_zoo.bench.pictures import Files, Pictures
    from vlp_zoo.encoders.checkpoint import open_encoder
    from vlp_zoo.evaluation.features.cache import FeatureCache
    from vlp_zoo.evaluation.features.extraction import Extraction
    from vlp_zoo.files import write_whole

    encoder = open_encoder(encoder_file(options.encoder))
    extraction = Extraction(batch_size=options.batch_size, cache=FeatureCache(None))
    source = Files(paths, options.colour)
    rows = extraction.get(encoder, source) if paths else np.empty((0, 0), np.float32)
    for i in np.flatnonzero(~source.readable):
        print(f"warning: {paths[i]}: {_reason(source, int(i))}", file=sys.stderr)
    kept = np.flatnonzero(source.readable).tolist()
    if not kept:
        raise DatasetNotFoundError(
            f"images that can be read below {options.folder}",
            f"{len(paths)} files that end as images do, none readable",
            f"give a folder with files {', '.join(SUFFIXES)}",
        )
    rows = rows[kept]
    names = [paths[i].relative_to(options.folder).as_posix() for i in kept]
    frame = pd.DataFrame({"image": names, "embedding": list(rows)})
    write_whole(options.out, lambda path: frame.to_parquet(path, index=False))
    print(f"{len(rows)} embeddings of width {rows.shape[1]}: {options.out}")
    if len(kept) < len(paths):
        print(f"left out, as they cannot be read: {len(paths) - len(kept)}")
    if options.projector is not None:
        readable = Pictures([paths[i] for i in kept], options.colour)
        _project(options.projector, names, rows, readable)
        print(f"projector: tensorboard --logdir {options.projector}")
    return 0


def _reason(source: Files, index: int) -> str:
    """Why a file cannot be read."""
    from vlp_zoo.bench.pictures import Pictures

    try:
        Pictures.__getitem__(source, index)
    except DataRejectedError as error:
        return error.found
    return "it could not be read at first"


def _project(folder: Path, names: list[str], rows: object, source: Pictures) -> None:
    import numpy as np
    import torch
    from torch.utils.tensorboard import SummaryWriter

    from vlp_zoo.transforms import resize

    room = (8192 // THUMBNAIL) ** 2
    pictures = None
    if len(names) <= room:
        small = [resize(source[i].image, THUMBNAIL) for i in range(len(names))]
        planes = [
            one if one.ndim == 3 else np.repeat(one[..., None], 3, 2) for one in small
        ]
        pictures = torch.from_numpy(np.stack(planes)).permute(0, 3, 1, 2).float() / 255
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(rows, metadata=names, label_img=pictures)
