"""Open-i in three layouts: six reports, of which one has no image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["BROKEN", "write_openi", "write_openi_kaggle", "write_openi_r2gen"]

BROKEN = "CXR3_IM-1384-1001"
"""A PNG cut in the middle; ``3_IM-1384-1001`` and ``CXR3_IM-1384/0`` elsewhere."""

REPORTS: list[tuple[int, dict[str, str], list[str], list[str]]] = [
    # number, sections, MeSH terms, images
    (
        1,
        {
            "comparison": "None.",
            "indication": "Positive TB test",
            "findings": "The cardiac silhouette is within normal limits.",
            "impression": "Normal chest x-XXXX.",
        },
        ["normal"],
        ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"],
    ),
    (
        2,
        {
            "comparison": "",
            "indication": "Preop bariatric surgery.",
            "findings": "Borderline cardiomegaly. <2 cm nodule & apical thickening.",
            "impression": "",
        },
        ["Cardiomegaly/borderline", "Thickening/pleura/apex/left", "Nodule/lung"],
        ["CXR2_IM-0652-1001", "CXR2_IM-0652-2001"],
    ),
    (
        3,
        {
            "comparison": "XXXX",
            "indication": "",
            "findings": "",
            "impression": "Left base opacity.",
        },
        ["Opacity/lung/base/left", "Fractures, Bone/ribs/right"],
        ["CXR3_IM-1384-1001", "CXR3_IM-1384-2001"],
    ),
    # Not coded.
    (
        4,
        {
            "comparison": "",
            "indication": "Cough",
            "findings": "Low volumes.",
            "impression": "Limited.",
        },
        ["No Indexing"],
        ["CXR4_IM-2050-1001"],
    ),
    # No text of what was seen.
    (
        10,
        {
            "comparison": "None",
            "indication": "Chest pain",
            "findings": "",
            "impression": "",
        },
        ["Lung/hypoinflation"],
        ["CXR10_IM-0002-1001"],
    ),
    # No image.
    (
        11,
        {
            "comparison": "",
            "indication": "",
            "findings": "Clear lungs.",
            "impression": "Normal.",
        },
        ["normal"],
        [],
    ),
]

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <meta type="rr"/>
  <uId id="CXR{number}"/>
  <licenseURL>http://creativecommons.org/licenses/by-nc-nd/4.0/</licenseURL>
  <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
    <Article PubModel="Electronic">
      <Abstract>
{sections}
      </Abstract>
    </Article>
  </MedlineCitation>
  <MeSH>
{terms}
    <automatic>thickening</automatic>
  </MeSH>
{images}
</eCitation>
"""


def write_image(path: Path, seed: int, faults: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48), np.uint8)
    Image.fromarray(pixels).convert("RGB").save(path)
    if faults:
        path.write_bytes(path.read_bytes()[:-60])


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def write_openi(root: Path, *, faults: bool = True) -> None:
    """Write the collection's own layout."""
    folder = root / "ecgen-radiology"
    folder.mkdir(parents=True, exist_ok=True)
    for number, sections, terms, images in REPORTS:
        parts = [
            f'        <AbstractText Label="{name.upper()}">{escaped(text)}</AbstractText>'
            if text
            else f'        <AbstractText Label="{name.upper()}"/>'
            for name, text in sections.items()
        ]
        parents = [
            f'  <parentImage id="{name}"><figureId>F{i}</figureId>'
            f"<caption>PA and lateral chest</caption></parentImage>"
            for i, name in enumerate(images, 1)
        ]
        content = XML.format(
            number=number,
            sections="\n".join(parts),
            terms="\n".join(f"    <major>{term}</major>" for term in terms),
            images="\n".join(parents),
        )
        (folder / f"{number}.xml").write_text(content, encoding="utf-8")
        for i, name in enumerate(images):
            path = root / "NLMCXR_png" / f"{name}.png"
            write_image(path, number * 4 + i, faults and name == BROKEN)


def write_openi_kaggle(root: Path, *, faults: bool = True) -> None:
    """Write the two tables and the images of Kaggle's pack."""
    root.mkdir(parents=True, exist_ok=True)
    heading = "uid,MeSH,Problems,image,indication,comparison,findings,impression"
    reports, projections = [heading.split(",")], [["uid", "filename", "projection"]]
    for number, sections, terms, images in REPORTS:
        problems = ";".join(term.split("/")[0] for term in terms)
        texts = [
            sections[n] for n in ("indication", "comparison", "findings", "impression")
        ]
        row = [str(number), ";".join(terms), problems, "Xray Chest PA and Lateral"]
        reports.append(row + texts)
        for i, name in enumerate(images):
            file = f"{name.split('CXR1_')[-1].removeprefix('CXR')}.dcm.png"
            projections.append([str(number), file, ("Frontal", "Lateral")[i]])
            path = root / "images" / "images_normalized" / file
            write_image(path, number * 4 + i, faults and name == BROKEN)
    for kind, rows in (("reports", reports), ("projections", projections)):
        with (root / f"indiana_{kind}.csv").open("w", newline="") as table:
            csv.writer(table).writerows(rows)


def write_openi_r2gen(root: Path, *, faults: bool = True) -> None:
    """Write R2Gen's pack: reports with findings and two images."""
    content: dict[str, list[dict[str, object]]] = {"train": [], "val": [], "test": []}
    for split, (number, sections, _, images) in zip(
        ("train", "val", "test"), REPORTS, strict=False
    ):
        study = images[0].rsplit("-", 1)[0].replace("CXR1_1_", "CXR1_")
        paths = [f"{study}/{i}.png" for i in range(2)]
        content[split].append(
            {
                "id": study,
                "report": sections["findings"] or "Left base opacity .",
                "image_path": paths,
                "split": split,
            }
        )
        for i, path in enumerate(paths):
            cut = faults and number == 3 and i == 0
            write_image(root / "images" / path, number * 4 + i, cut)
    (root / "annotation.json").write_text(json.dumps(content))
