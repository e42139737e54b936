"""MuReD: 2,208 fundus photographs of three sources, twenty labels.

Layout::

    train_data.csv, val_data.csv      # ID and a column per label
    images/images/<ID>.{png,tif}

Labels: in the order of the tables; several can be 1. ``MH`` is media haze (not macular
hole), ``DN`` drusen, ``TSLN`` tessellation, ``LS`` laser scars. ``NORMAL`` is a label.

Splits: ``official`` are the two tables (1,764 and 444 images). The second is the only
part held out and the one that everybody reports on, so it is the test set here;
validation images are drawn from the first by `canonical`'s rule. ECAMP tests on the
same 444, but its 222 validation images follow no rule. There are no patient ids.

The images are those of RFMiD, STARE (``im####``) and ARIA (``aria_``): a model
pre-trained on them, as FLAIR's, has seen this test set.

Access: open download, Mendeley Data. Cite Rodriguez, AlMarzouqi and Liatsis,
"Multi-Label Retinal Disease Classification Using Transformers", IEEE JBHI, 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.fundus.photographs import Photographs, bare
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import read_rows

__all__ = ["CARD", "LABEL_NAMES", "read"]

LABEL_NAMES = (
    "DR",
    "NORMAL",
    "MH",
    "ODC",
    "TSLN",
    "ARMD",
    "DN",
    "MYA",
    "BRVO",
    "ODP",
    "CRVO",
    "CNV",
    "RS",
    "ODE",
    "LS",
    "CSR",
    "HTR",
    "ASR",
    "CRS",
    "OTHER",
)


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the two tables.

    Args:
        root: Folder with ``train_data.csv`` and ``val_data.csv``.

    Raises:
        DatasetNotFoundError: If a table or column is missing.
    """
    folders = [root / "images" / "images", root / "images", root]
    images = Photographs(folders)
    for file, split in (("train_data.csv", "train"), ("val_data.csv", "test")):
        path = root / file
        for row in read_rows(path, ["ID", *LABEL_NAMES], ids=["ID"]):
            uid = bare(row["ID"])
            yield Record(
                uid=uid,
                image=images.find(uid) or folders[0] / f"{uid}.png",
                split=split,
                labels=row.labels(LABEL_NAMES),
                row=row.line,
                facts={"source": _source(uid)},
            )


def _source(uid: str) -> str:
    if uid.lower().startswith("aria"):
        return "ARIA"
    return "STARE" if uid.lower().startswith("im") else "RFMiD"


CARD = Card(
    name="mured",
    title="MuReD",
    domain="fundus",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels",),
    patients="none",
    markers=("train_data.csv",),
    access="open download, Mendeley Data",
    licence="attribution; the sources have their own terms",
    citation="Rodriguez et al., Multi-Label Retinal Disease Classification, JBHI 2023",
    splits={
        "official": released(
            "val_data.csv of MuReD",
            "put it beside train_data.csv, unchanged",
            level="image",
            source="released tables; validation images by the canonical rule",
            issues=(
                "there are no patient ids: two images of a patient can be on two sides",
            ),
        ),
    },
    overlaps=("rfmid", "stare", "aria", "flair"),
)
