"""COVIDx CXR-2, CXR-3 and CXR-4: COVID-19 or not, on images of several sources.

Layout::

    train.txt, val.txt, test.txt              # val from CXR-4 on
    train/<file name>, val/<file name>, test/<file name>

``train_COVIDx9B.txt`` and ``test_COVIDx9B.txt``, the two-class lists of COVIDx 9, are
read too, in the root or in ``labels``. Lines and their oddities are those of `covidx`.
The lists have no heading: code that reads them with one loses the first image of each
(BenchX's CXR-4 lists are three short).

Labels: ``COVID-19``, 1 for "positive". CXR-4 has 84,818 images of 45,342 patients. The
classes come from different institutions here too: read what `covidx` says of scores.

Splits: ``official`` is what was released, with validation patients drawn by `canonical`'s
rule where there is no validation list.

Access: as of `covidx`; Kaggle has packs of each version. Cite Wang, Lin and Wong,
"COVID-Net: a tailored deep convolutional neural network design for detection of COVID-19
cases from chest X-ray images", Scientific Reports 10, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp_zoo.data.chest.covidx import (
    ACCESS,
    CITATION,
    LICENCE,
    SOURCES_DIFFER,
    read_lists,
)
from vlp_zoo.data.records import Card, Record
from vlp_zoo.data.splits import released

__all__ = ["CARD", "read"]

LISTS = ("{split}.txt", "{split}_COVIDx9B.txt", "{split}_COVIDx8B.txt")
CLASSES = {"positive": (1.0,), "negative": (0.0,)}


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the lists: training, validation, test.

    Args:
        root: Folder with ``train.txt`` and ``train``.

    Raises:
        DatasetNotFoundError: If the lists or all images are missing, or a line is none.
    """
    yield from read_lists(
        root, LISTS, CLASSES, "COVIDx CXR", "use the data set covidx for three classes"
    )


CARD = Card(
    name="covidx_cxr",
    title="COVIDx CXR",
    domain="chest",
    read=read,
    label_names=("COVID-19",),
    gives=("labels",),
    patients="proxy",
    markers=("train.txt", "train_COVIDx*B.txt", "labels/train_COVIDx*B.txt"),
    access=ACCESS,
    licence=LICENCE,
    citation=CITATION,
    splits={
        "official": released(
            "test.txt and the folder test of COVIDx",
            "download them, or use --data.split canonical",
            level="patient",
            source="released lists",
            issues=(SOURCES_DIFFER,),
        ),
    },
    overlaps=("covidx", "rsna", "nih14"),
)
