"""COVIDx 9A: 30,530 images of eight sources as normal, pneumonia or COVID-19.

Layout::

    train_COVIDx9A.txt, test_COVIDx9A.txt    # in the root or in labels
    train/<file name>, test/<file name>

Lines are "patient file class source", with blanks between and no heading; in older
versions (7A, 8A: read where there is no 9A) a few have five words, because the patient
or the file has a blank in its name. Images are PNG or JPEG, grey or colour, of many
sizes, and two files can differ in their ending alone, so names are taken as written.

Labels: ``normal``, ``pneumonia``, ``COVID-19``, one of them each (ids 0, 1, 2 in MGCA
and ECAMP). The 9B lists and COVIDx CXR-2 to CXR-4, "positive" and "negative", are the
data set `covidx_cxr`.

What it measures: the source. In 9A all normal and nearly all pneumonia images are
RSNA's, and no COVID image is; the COVID images of the test set are all RICORD's. A
score here is no evidence that COVID is recognised unless a probe for ``facts["source"]``
stands next to it. (The lists write 199 times "rnsa" for "rsna"; the fact is mended.)

Patients: the first word of a line. It is unique within a source, an image's name where
the source gave none, and RSNA's are new for every image: a proxy.

Splits: ``official`` is the released pair (30,130 and 400 images, no patient in both),
with validation patients drawn by `canonical`'s rule. ``mgca`` draws a fifth of the
training lines with seed 0, by image: 3,036 of its 6,026 validation images have their
patient in training. ECAMP's list (27,117 / 3,013 / 400) follows no known rule.

Access: put together with the scripts of COVID-Net from eight sources, each with its own
terms, or from Kaggle. Cite Wang, Lin and Wong, "COVID-Net: a tailored deep
convolutional neural network design for detection of COVID-19 cases from chest X-ray
images", Scientific Reports 10, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vlp_zoo.data.chest.radiographs import split_once
from vlp_zoo.data.records import Card, Record, SplitRule
from vlp_zoo.data.splits import released
from vlp_zoo.data.tables import find_one, without
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reading import read_text

__all__ = ["CARD", "read", "read_lists"]

LABEL_NAMES = ("normal", "pneumonia", "COVID-19")
LISTS = (
    "{split}_COVIDx9A.txt",
    "{split}_COVIDx8A.txt",
    "{split}_COVIDx7A.txt",
    "{split}_split*.txt",
    "{split}.txt",
)
ACCESS = "assembled with COVID-Net's scripts from eight sources, or Kaggle"
LICENCE = "that of each source; RICORD is CC BY-NC 4.0"
CITATION = "Wang et al., COVID-Net, Scientific Reports 2020"
MISSPELT = {"rnsa": "rsna"}


def read(root: Path) -> Iterator[Record]:
    """Records in the order of the lists, training first.

    Args:
        root: Folder with ``train_COVIDx9A.txt`` and ``train``.

    Raises:
        DatasetNotFoundError: If the lists or all images are missing, or a line is none.
    """
    classes = {
        name.lower(): tuple(float(name == other) for other in LABEL_NAMES)
        for name in LABEL_NAMES
    }
    yield from read_lists(
        root, LISTS, classes, "COVIDx 9A", "use the data set covidx_cxr for two classes"
    )


def read_lists(
    root: Path,
    lists: Sequence[str],
    classes: Mapping[str, tuple[float, ...]],
    title: str,
    otherwise: str,
) -> Iterator[Record]:
    """Records of the lists of one version.

    Args:
        root: Folder of the data set.
        lists: Names that a list can have, with ``{split}`` in them, the best first.
        classes: Labels of each class, its name in lower case.
        title: For messages.
        otherwise: What to do where the classes are others, for the message.

    Raises:
        DatasetNotFoundError: If the training list or all images are missing, or a line
            is none.
    """
    records: list[Record] = []
    for split in ("train", "val", "test"):
        names = [name.format(split=split) for name in lists]
        places = [
            f"{base}{name}" for name in names for base in ("", "labels/", "data/")
        ]
        try:
            path = find_one(root, places, f"{names[0]} of {title}")
        except DatasetNotFoundError:
            # Only CXR-4 has a validation list, and some packs have no test images.
            if split == "train":
                raise
            continue
        base = next((b for b in (root, root / "data") if (b / split).is_dir()), root)
        for line, text in enumerate(read_text(path, "the list").splitlines(), 1):
            if not text.strip():
                continue
            records.append(_record(text, line, path, base / split, classes, otherwise))
    if not any(record.image.is_file() for record in records):
        what = f"images of {title}, in the folders train and test,"
        raise without(what, root, "put the images there")
    yield from records


def _record(
    text: str,
    line: int,
    path: Path,
    folder: Path,
    classes: Mapping[str, tuple[float, ...]],
    otherwise: str,
) -> Record:
    words = text.split()
    kind = words[-2].lower() if len(words) >= 4 else ""
    if kind not in classes:
        raise DatasetNotFoundError(
            f"patient, file, class ({', '.join(classes)}) and source in line {line} of "
            f"{path}",
            repr(text[:80]),
            f"{otherwise}, or download the list again",
        )
    # Blanks can be in the name of the patient or of the file: the folder tells.
    middle = words[1:-2]
    starts = [
        i for i in range(len(middle)) if (folder / " ".join(middle[i:])).is_file()
    ]
    start = starts[0] if starts else 0
    name = " ".join(middle[start:])
    source = words[-1].lower()
    uid = f"{folder.name}/{name}"
    patient = " ".join([words[0], *middle[:start]])
    return Record(
        uid=uid,
        image=folder / name,
        patient_id=patient,
        split=folder.name,
        labels=classes[kind],
        row=line,
        facts={"source": MISSPELT.get(source, source)},
    )


def _mgca(records: Sequence[Record]) -> list[str]:
    """A fifth of the training list, in its order, by scikit-learn."""
    pool = [i for i, record in enumerate(records) if record.split == "train"]
    _, held_out = split_once(pool, len(pool) - int(0.8 * len(pool)), 0)
    splits = [record.split for record in records]
    for i in held_out:
        splits[i] = "val"
    return splits


SOURCES_DIFFER = "classes are of different sources: a score here is one for sources"

CARD = Card(
    name="covidx",
    title="COVIDx 9A",
    domain="chest",
    read=read,
    label_names=LABEL_NAMES,
    gives=("labels",),
    patients="proxy",
    markers=(
        "train_COVIDx*A.txt",
        "labels/train_COVIDx*A.txt",
        "data/train_COVIDx*A.txt",
        "train_split*.txt",
    ),
    access=ACCESS,
    licence=LICENCE,
    citation=CITATION,
    single_label=True,
    splits={
        "official": released(
            "test_COVIDx9A.txt and the folder test of COVIDx",
            "download them, or use --data.split canonical",
            level="patient",
            source="released lists; validation patients by the canonical rule",
            issues=(SOURCES_DIFFER,),
        ),
        "mgca": SplitRule(
            _mgca,
            level="image",
            source="MGCA (HKU-MedAI/MGCA @6445a90), preprocess/covidx.py",
            counts={"train": 24_104, "val": 6_026, "test": 400},
            issues=(
                "3,036 of 6,026 validation images have their patient in training",
                SOURCES_DIFFER,
            ),
            legacy=True,
        ),
    },
    overlaps=("rsna", "nih14"),
)
