"""RIGA: optic disc and cup of 750 photographs of three sites, drawn by six readers.

The release (Deep Blue) holds outlines painted into photographs; what is read are its
two re-packs with masks::

    DiscRegion/Image/{BinRushed/BinRushed#,Magrabia/Magrabi*,MESSIDOR}/image#.tif
    DiscRegion/FinalLabel/...                     # same folders, same names

    {BinRushed,Magrabia,MESSIDOR_Base#}_{train,test}.csv      # RIGA+: image, mask
    RIGA/<site>/<folder>/image#.tif
    RIGA-mask/<site>/<folder>/image#-{1..6}.tif               # a reader each

Images are crops around the disc. RIGA+ also lists ``*_unlabeled.csv``, photographs of
MESSIDOR that nobody outlined; they are not read. Its tables name ``image#.tif`` where
the masks are ``image#-1.tif``: the first reader is taken, as in the code of its authors.

Masks: ``optic disc`` (all that is not 0) and ``optic cup`` inside it. The two re-packs
code the cup in opposite ways: in ``FinalLabel`` it is 255 and the rim a mid-grey, in
``RIGA-mask`` it is the mid-grey (128) and the rim 255.

Labels: none. ``facts["site"]`` is BinRushed, Magrabia or MESSIDOR. No patient ids.

Splits: ``official`` are RIGA+'s tables per site. ``cross_site`` tests on Magrabia, as
ECAMP does (95 images), with validation images drawn from the other two by `canonical`'s
rule; ECAMP's own validation list follows no rule.

Access: open download, Deep Blue and Zenodo. Cite Almazroa et al., "Retinal fundus images
for glaucoma analysis: the RIGA dataset", SPIE Medical Imaging, 2018; RIGA+: Hu et al.,
"Domain Specific Convolution and High Frequency Reconstruction Based Unsupervised
Domain Adaptation for Medical Image Segmentation", MICCAI, 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_zoo.data.records import Card, MaskRef, Record, SplitRule
from vlp_zoo.data.splits import canonical_after, released
from vlp_zoo.data.tables import read_rows, without
from vlp_zoo.errors import DatasetNotFoundError

__all__ = ["CARD", "read"]

DISC = (1, 255)
CUP_OF_FINAL_LABEL = (255, 255)
CUP_OF_RIGA_PLUS = (1, 254)
LEVELS = (0, None, 255)


def read(root: Path) -> Iterator[Record]:
    """Records: of ``DiscRegion`` in the order of names, of RIGA+ in that of its tables.

    Args:
        root: Folder with ``DiscRegion``, or that folder, or RIGA+'s with its tables.

    Raises:
        DatasetNotFoundError: If neither is there, or a table lacks its columns.
    """
    for base in (root / "DiscRegion", root):
        if (base / "FinalLabel").is_dir():
            yield from _disc_region(base)
            return
    for base in (root, root / "RIGAPlus"):
        if (base / "RIGA-mask").is_dir():
            yield from _riga_plus(base)
            return
    raise without("DiscRegion/FinalLabel or RIGA-mask", root)


def _record(
    image: Path, mask: Path, uid: str, cup: tuple[int, int], row: int, split: str = ""
) -> Record:
    return Record(
        uid=uid,
        image=image,
        split=split,
        masks=(
            MaskRef("optic disc", "file", mask, DISC, levels=LEVELS),
            MaskRef("optic cup", "file", mask, cup, levels=LEVELS),
        ),
        row=row,
        facts={"site": uid.split("/")[0].split("_")[0]},
    )


def _disc_region(base: Path) -> Iterator[Record]:
    images, masks = base / "Image", base / "FinalLabel"
    found = {
        path.relative_to(folder).with_suffix("")
        for folder in (images, masks)
        for path in folder.rglob("*.tif")
        # Archives made on a Mac hold a ._ twin of every file.
        if not path.name.startswith(".")
    }
    for row, name in enumerate(sorted(found), 2):
        file = name.with_suffix(".tif")
        uid = name.as_posix()
        yield _record(images / file, masks / file, uid, CUP_OF_FINAL_LABEL, row)


def _riga_plus(base: Path) -> Iterator[Record]:
    tables = [
        (path, split)
        for split in ("train", "test")
        for path in sorted(base.glob(f"*_{split}.csv"))
    ]
    if not tables:
        what = "*_train.csv and *_test.csv of RIGA+"
        raise without(what, base, "unpack the whole archive")
    for path, split in tables:
        for row in read_rows(path, ["image", "mask"]):
            image, mask = Path(row["image"]), Path(row["mask"])
            if not (base / mask).is_file():
                mask = mask.with_name(f"{mask.stem}-1{mask.suffix}")
            uid = image.with_suffix("").as_posix().removeprefix("RIGA/")
            place = base / image, base / mask, uid
            yield _record(*place, CUP_OF_RIGA_PLUS, row.line, split)


def _cross_site(records: Sequence[Record]) -> list[str]:
    if not any(record.facts["site"] == "Magrabia" for record in records):
        raise DatasetNotFoundError(
            "images of Magrabia in RIGA", "none", "download the set whole"
        )
    return canonical_after(
        records, lambda r: "test" if r.facts["site"] == "Magrabia" else "train"
    )


CARD = Card(
    name="riga",
    title="RIGA",
    domain="fundus",
    read=read,
    label_names=(),
    gives=("masks",),
    patients="none",
    markers=("DiscRegion", "FinalLabel", "RIGA-mask", "RIGAPlus"),
    access="open download, Deep Blue; re-packs on Zenodo",
    licence="CC BY-NC 4.0",
    citation="Almazroa et al., RIGA, SPIE 2018; RIGA+: Hu et al., MICCAI 2022",
    splits={
        "official": released(
            "*_train.csv and *_test.csv of RIGA+",
            "use that re-pack, or --data.split cross_site or canonical",
            level="image",
            source="RIGA+'s tables per site; validation images by the canonical rule",
            issues=("it is the split of a re-pack, not of RIGA",),
        ),
        "cross_site": SplitRule(
            _cross_site,
            level="image",
            source="test images as in ECAMP (ToniChopp/ECAMP @98b1f73): all of Magrabia",
            issues=(
                "the test images are of another site than the training images",
                "validation images are drawn here, they are not ECAMP's",
            ),
        ),
    },
    overlaps=("messidor2",),
)
