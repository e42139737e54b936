"""The audit as one HTML file that needs nothing else: pictures are inside of it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.audit.findings import GRADES, Audit, Finding
from vlp_zoo.data.audit.prints import grey_pixels
from vlp_zoo.errors import DataRejectedError

__all__ = ["render"]

MOST_GROUPS = 60
MOST_PICTURES = 6
MOST_ROWS = 200
PICTURE_SIDE = 176

MEANING = {
    "leak": "a patient, a study or copies of an image in two splits",
    "twin": "copies of an image inside of one split, or in two data sets",
    "contradiction": "copies of an image that carry different labels",
    "unreadable": "files that are missing, empty, cut off, undecodable or blank",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5b6470; --page: #fbfbfa;
  --card: #ffffff; --line: #d9dde2; --bad: #b3261e; --warn: #8a5a00; --good: #1f6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a8b2;
  --page: #15181c; --card: #1d2126; --line: #363c44; --bad: #ff8a80; --warn: #f2c069;
  --good: #7fd6a0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 .75rem; } .soft { color: var(--soft); }
.leak { color: var(--bad); } .twin, .contradiction, .unreadable { color: var(--warn); }
.clean { color: var(--good); } .grade { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; min-width: 24rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid
  var(--line); vertical-align: top; } td.number, th.number { text-align: right; }
.group { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem 1rem; margin: .75rem 0; } .group p { margin: 0 0 .5rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 11rem; } figure img { width: 100%; height: 11rem;
  object-fit: contain; background: #000; border-radius: 4px; display: block; }
figcaption { font-size: .75rem; color: var(--soft); overflow-wrap: anywhere;
  margin-top: .3rem; } figcaption b { color: var(--ink); font-weight: 600; }
.ids { font-size: .85rem; overflow-wrap: anywhere; color: var(--soft); }
"""


def render(audit: Audit, report: Mapping[str, Any]) -> str:
    """The page.

    Args:
        audit: The finished audit.
        report: `Audit.to_dict` with what the command added: ``verdict``,
            ``shortcuts``, ``contamination``.

    Returns:
        HTML without any reference outside of itself.
    """
    # A strong shortcut or a contaminated encoder has no grade, but is not clean.
    calm = "clean" if str(report["verdict"]).startswith("clean") else "unreadable"
    worst = next((grade for grade in GRADES if audit.count(grade)), calm)
    parts = [
        "<h1>Data audit</h1>",
        f'<p class="grade {worst}">{_text(report["verdict"])}</p>',
        _counts(audit),
        _datasets(report["datasets"]),
        _overlaps(report),
    ]
    for grade in GRADES:
        findings = [f for f in audit.findings if f.grade == grade]
        if findings:
            parts.append(f"<h2>{_title(grade, len(findings))}</h2>")
            parts.append(f'<p class="soft">{_text(MEANING[grade])}</p>')
            parts += _shown(audit, findings)
    parts += [_shortcuts(report.get("shortcuts", {})), _prevalence(report["datasets"])]
    parts.append(
        '<h2>What was compared</h2><p class="soft">Copies are claimed for: the same '
        "grey levels; the same frame after compression, resizing, a linear change of "
        "contrast or flat padding; the same mirrored; and centred crops that keep 70 % "
        "or more of both sides. Other crops, rotations and other images of the same "
        "patient are not looked for. Research only, not for clinical use.</p>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Data audit</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _title(grade: str, n: int) -> str:
    words = {"unreadable": "Unreadable files"}
    return f"{words.get(grade, grade.capitalize() + 's')}: {n}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    numbers = [name.startswith("#") for name in head]

    def cell(tag: str, value: object, number: bool) -> str:
        kind = ' class="number"' if number else ""
        return f"<{tag}{kind}>{_text(value)}</{tag}>"

    lines = [
        "".join(
            cell("th", name.lstrip("#"), n)
            for name, n in zip(head, numbers, strict=True)
        )
    ]
    lines += [
        "".join(cell("td", value, n) for value, n in zip(row, numbers, strict=True))
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'


def _counts(audit: Audit) -> str:
    rows = [(grade, audit.count(grade), MEANING[grade]) for grade in GRADES]
    return _table(["grade", "#findings", "meaning"], rows)


def _datasets(datasets: Mapping[str, Any]) -> str:
    rows = [
        (name, split, part["images"], part["patients"], data["split_sha256"][:12])
        for name, data in datasets.items()
        for split, part in data["splits"].items()
    ]
    head = ["data set", "split", "#images", "#patients", "hash of the split"]
    return "<h2>Data</h2>" + _table(head, rows)


def _overlaps(report: Mapping[str, Any]) -> str:
    items = [(" and ".join(item["between"]), item) for item in report["related"]]
    items += [
        (f"encoder ({item['source']}) and {item['dataset']}", item)
        for item in report.get("contamination", [])
    ]
    rows = [
        (
            between,
            "yes" if item["certain"] else "may be",
            " > ".join(item["chain"]),
            item["mechanism"],
        )
        for between, item in items
    ]
    if not rows:
        return ""
    head = ["between", "shared images", "through", "how"]
    return "<h2>Known to overlap</h2>" + _table(head, rows)


def _shown(audit: Audit, findings: Sequence[Finding]) -> list[str]:
    parts = []
    groups = [f for f in findings if f.kind in ("copies", "labels")]
    for finding in findings:
        if finding.kind in ("patients", "studies"):
            ids = finding.details["ids"]
            more = f" and {len(ids) - MOST_ROWS} more" if len(ids) > MOST_ROWS else ""
            listed = _text(", ".join(ids[:MOST_ROWS]) + more)
            parts.append(
                f'<div class="group"><p>{_text(finding.summary)}</p>'
                f'<div class="ids">{listed}</div></div>'
            )
    parts += [_group(audit, finding) for finding in groups[:MOST_GROUPS]]
    if len(groups) > MOST_GROUPS:
        parts.append(
            f'<p class="soft">{len(groups) - MOST_GROUPS} more groups are in '
            "audit.json.</p>"
        )
    files = [f for f in findings if f.kind == "file"]
    if files:
        rows = []
        for f in files[:MOST_ROWS]:
            image = audit.images[f.images[0]]
            place = (image.dataset, image.split, image.row or "")
            rows.append((f.details["reason"], *place, image.path or image.uid))
        parts.append(_table(["reason", "data set", "split", "#row", "file"], rows))
        if len(files) > MOST_ROWS:
            left = len(files) - MOST_ROWS
            parts.append(f'<p class="soft">{left} more are in audit.json.</p>')
    return parts


def _group(audit: Audit, finding: Finding) -> str:
    pairs = "; ".join(
        f"{twin.kind}, {twin.distance} of 64 bits, correlation {twin.correlation:.3f}"
        + (f", {100 * twin.scale:.0f} % of the frame" if twin.kind == "cropped" else "")
        for twin in finding.twins[:MOST_PICTURES]
    )
    figures = "".join(
        _figure(audit, finding, i) for i in finding.images[:MOST_PICTURES]
    )
    left = len(finding.images) - MOST_PICTURES
    more = f'<p class="soft">{left} more in audit.json.</p>' if left > 0 else ""
    return (
        f'<div class="group"><p>{_text(finding.summary)} '
        f'<span class="soft">({_text(pairs)})</span></p>'
        f'<div class="pictures">{figures}</div>{more}</div>'
    )


def _figure(audit: Audit, finding: Finding, index: int) -> str:
    image = audit.images[index]
    source = audit.datasets[image.dataset][image.split]
    words = [
        f"{image.dataset}, {image.split}",
        f"patient {image.patient_id}",
        image.uid,
    ]
    for name, sides in finding.details.get("labels", {}).items():
        said = next((value for value, uids in sides.items() if image.uid in uids), None)
        if said is not None:
            words.append(f"{name}: {said}")
    try:
        picture = _data_uri(grey_pixels(source, image.index))
    except DataRejectedError as error:
        return f"<figure><figcaption>{_text(error.found)}</figcaption></figure>"
    first, *rest = (_text(word) for word in words)
    caption = "<br>".join([f"<b>{first}</b>", *rest])
    return (
        f'<figure><img src="{picture}" alt="{_text(image.uid)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    factor = min(1.0, PICTURE_SIDE / max(pixels.shape))
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _shortcuts(shortcuts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = [
        (
            name,
            item["label"],
            "" if item["auroc"] is None else f"{item['auroc']:.3f}",
            "" if item["low"] is None else f"{item['low']:.3f} to {item['high']:.3f}",
            item["positives"],
            item["note"] or ("strong" if item["strong"] else ""),
            ", ".join(item["features"]),
        )
        for name, items in shortcuts.items()
        for item in sorted(items, key=lambda item: -(item["auroc"] or 0))
    ]
    if not rows:
        return ""
    head = [
        "data set",
        "label",
        "#AUROC",
        "95 % interval",
        "#positives",
        "",
        "mostly by",
    ]
    return (
        "<h2>Labels guessed from the acquisition</h2>"
        '<p class="soft">Logistic regression on size, borders, corners, brightness, '
        "sharpness, noise, view and site, cross-validated by patient. A model that "
        "scores no better has shown nothing about the disease.</p>" + _table(head, rows)
    )


def _prevalence(datasets: Mapping[str, Any]) -> str:
    rows = []
    for name, data in datasets.items():
        labels = dict.fromkeys(
            label for part in data["splits"].values() for label in part["labels"]
        )
        for label in labels:
            shares = []
            for split, part in data["splits"].items():
                n = part["labels"].get(label, {"positive": 0, "negative": 0})
                known = n["positive"] + n["negative"]
                share = f" ({100 * n['positive'] / known:.1f} %)" if known else ""
                shares.append(f"{split} {n['positive']} of {known}{share}")
            rows.append((name, label, "; ".join(shares)))
    if not rows:
        return ""
    head = ["data set", "label", "positive of known"]
    return "<h2>Prevalence</h2>" + _table(head, rows)
