"""MM-Retinal v1: 4,349 figures of four ophthalmology books with their captions.

Layout::

    CFP_translated_v1.csv, FFA_translated_v1.csv, OCT_translated_v1.csv
    CFP/<Image_ID>.{png,jpg}, FFA/..., OCT/...

Columns are ``Image_ID``, ``en_caption``, ``cn_caption`` and, for OCT, ``is_multipic``.
Whether an image is PNG or JPEG is not known from the table; some packs write the ending
into ``Image_ID``. A kind (photograph, angiography, tomography) that is not there is left
out; ``--data.views CFP`` keeps one.

Text: the English caption, as printed: it may speak of the figure's other panels.
Labels: none. No patient ids; panels of a figure can show one patient.

Splits: none released.

Access: registration with its authors. The figures are scanned from books whose
publishers hold the rights: bring your own copy and pass nothing on. Cite Wu et al.,
"MM-Retinal: Knowledge-Enhanced Foundational Pretraining with Fundus Image-Text
Expertise", MICCAI 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.fundus.photographs import Photographs, bare
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.tables import read_rows, without

__all__ = ["CARD", "read"]

KINDS = ("CFP", "FFA", "OCT")


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the tables, photographs first.

    Args:
        root: Folder with ``CFP_translated_v1.csv``.

    Raises:
        DatasetNotFoundError: If no table is there, or a column is missing.
    """
    tables = {
        kind: path
        for kind in KINDS
        if (path := next(iter(sorted(root.glob(f"{kind}_translated*.csv"))), None))
    }
    if not tables:
        raise without("CFP_translated_v1.csv, or that of FFA or OCT,", root)
    for kind, path in tables.items():
        images = Photographs([root / kind], deep=True)
        for row in read_rows(path, ["Image_ID", "en_caption"], ids=["Image_ID"]):
            name = bare(row["Image_ID"])
            uid = f"{kind}/{name}"
            yield Record(
                uid=uid,
                image=images.find(name) or root / kind / f"{name}.png",
                text=row["en_caption"],
                view=kind,
                row=row.line,
                facts={"modality": kind, "panels": row.get("is_multipic")},
            )


CARD = Card(
    name="mm_retinal",
    title="MM-Retinal v1",
    domain="fundus",
    read=read,
    label_names=(),
    gives=("reports",),
    patients="none",
    markers=tuple(f"{kind}_translated*.csv" for kind in KINDS),
    access="registration with its authors",
    licence="figures from books, rights unclear",
    citation="Wu et al., MM-Retinal, MICCAI 2024",
)
