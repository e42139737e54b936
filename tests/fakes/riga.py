"""RIGA in its two re-packs: eight images of three sites."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.photographs import paint, paint_rings

__all__ = ["BROKEN", "BROKEN_PLUS", "SIZE", "write_riga", "write_riga_plus"]

BROKEN = "MESSIDOR/image7"
BROKEN_PLUS = "MESSIDOR_Base1/Labeled/image7"
"""A TIFF of no bytes."""

SIZE = (40, 40)
NAMES = [
    "BinRushed/BinRushed1/image1",
    "BinRushed/BinRushed1/image2",
    "BinRushed/BinRushed2/image1",
    "Magrabia/MagrabiFemale/image1",
    "Magrabia/MagrabiaMale/image1",
    "MESSIDOR/image3",
    "MESSIDOR/image7",
    "MESSIDOR/image19",
]


def write_riga(root: Path, *, faults: bool = True) -> None:
    """``DiscRegion``: the cup is 255, the rim 128."""
    base = root / "DiscRegion"
    for i, name in enumerate(NAMES):
        path = base / "Image" / f"{name}.tif"
        paint(path, i, SIZE)
        if faults and name == BROKEN:
            path.write_bytes(b"")
        paint_rings(base / "FinalLabel" / f"{name}.tif", 128, 255, size=SIZE)


def write_riga_plus(root: Path, *, faults: bool = True) -> None:
    """RIGA+: the cup is 128, the rim 255; a file per reader, tables per site."""
    tables: dict[str, list[str]] = {}
    for i, old in enumerate(NAMES):
        name = old.replace("MESSIDOR/", "MESSIDOR_Base1/Labeled/")
        path = root / "RIGA" / f"{name}.tif"
        paint(path, i, SIZE)
        if faults and name == BROKEN_PLUS:
            path.write_bytes(b"")
        for reader in range(1, 7):
            mask = root / "RIGA-mask" / f"{name}-{reader}.tif"
            paint_rings(mask, 255, 128 if reader == 1 else 255, size=SIZE)
        part = "test" if name.endswith("image1") else "train"
        table = tables.setdefault(f"{name.split('/')[0]}_{part}.csv", ["image,mask"])
        table.append(f"RIGA/{name}.tif,RIGA-mask/{name}.tif")
    loose = "RIGA/MESSIDOR_Base1/Unlabeled/image99.tif"
    paint(root / loose, 99, SIZE)
    tables["MESSIDOR_Base1_unlabeled.csv"] = ["image", loose]
    for file, lines in tables.items():
        (root / file).write_text("\n".join(lines) + "\n")
