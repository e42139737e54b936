"""How well triplets and tags by rule agree with what is known.

    python benchmarks/triplet_quality.py phantom
    python benchmarks/triplet_quality.py mesh --half test

``phantom`` compares the triplets of drawn reports with the facts they were written
from: what the report affirms (present or uncertain), by finding and by region.
``mesh`` compares tags with the manual MeSH coding of the Open-i reports (``reports.csv``
as of `annotator_quality`): for each tag that a MeSH label stands for. Rules were
developed on phantom training reports with seed 0 and on the ``dev`` half; numbers are
for other seeds and the ``test`` half. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from annotator_quality import DEFAULT, read_half

from vlp_zoo.data.phantom.chest.facts import Finding
from vlp_zoo.data.phantom.chest.frontal import regions_of
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.reports.triplets import tag_vector, triplets
from vlp_zoo.reports.words.alignment import lung_of

__all__ = ["MESH_TAGS", "PHANTOM_TAGS", "Tally", "main", "mesh", "phantom"]

RESAMPLES = 1000

PHANTOM_TAGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation", "opacity"),
    "Edema": ("edema", "engorgement"),
    "Enlarged Cardiomediastinum": ("enlarged cardiomediastinum",),
    "Fracture": ("fracture",),
    "Lung Opacity": ("opacity",),
    "Pleural Effusion": ("pleural effusion",),
    "Pleural Other": ("pleural thicken", "scar"),
    "Pneumonia": ("pneumonia", "opacity", "infiltration"),
    "Pneumothorax": ("pneumothorax",),
    "nodule": ("nodule",),
    "mass": ("mass",),
    "endotracheal tube": ("tube", "tip"),
    "enteric tube": ("tube", "tip"),
    "central venous catheter": ("line", "tip"),
    "pacemaker": ("pacemaker", "wire"),
    "port": ("device", "tip"),
    "chest tube": ("tube", "drainage"),
    "sternotomy wires": ("wire",),
}
"""Label or kind of a drawn finding to the tags that its report may use; the first is
its own, the others are right where they are said."""

MESH_TAGS: dict[str, tuple[str, ...]] = {
    "label_pleural_effusion": ("pleural effusion",),
    "label_lung_opacity": ("opacity", "infiltration"),
    "label_pneumothorax": ("pneumothorax",),
    "label_edema": ("edema",),
    "label_atelectasis": ("atelectasis",),
    "label_consolidation": ("consolidation",),
    "label_enlarged_mediastinum": ("enlarged cardiomediastinum",),
    "label_pneumonia": ("pneumonia",),
    "label_cardiomegaly": ("cardiomegaly",),
    "label_fracture": ("fracture",),
    "label_pulmonary_congestion": ("engorgement",),
    "label_lung_lesion": ("nodule", "mass", "lesion"),
    "label_pleural_thickening": ("pleural thicken",),
    "label_fibrosis_or_scar": ("scar",),
    "label_hyperinflation": ("hyperinflate",),
    "label_emphysema": ("emphysema",),
    "label_hernia": ("hernia",),
    "label_support_devices": (
        "tube",
        "tip",
        "line",
        "device",
        "wire",
        "pacemaker",
        "stent",
        "hardware",
    ),
}
"""Column of the table to the tags of which any is taken as it."""


@dataclass
class Tally:
    """Counts of one finding or region.

    Attributes:
        stated: True triplets.
        found: How many of them were read.
        read: Triplets that were read.
        right: How many of them are true.
    """

    stated: int = 0
    found: int = 0
    read: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        """Share of what was read that is true; NaN where nothing was read."""
        return self.right / self.read if self.read else float("nan")

    @property
    def recall(self) -> float:
        """Share of the truth that was read; NaN where there is none."""
        return self.found / self.stated if self.stated else float("nan")


@dataclass
class Measured:
    """All tallies of a run."""

    findings: dict[str, Tally] = field(default_factory=dict)
    regions: dict[str, Tally] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, region: str, **counts: int) -> None:
        """Count under a finding and under a region."""
        for table, key in ((self.findings, name), (self.regions, region)):
            tally = table.setdefault(key, Tally())
            for kind, number in counts.items():
                setattr(tally, kind, getattr(tally, kind) + number)


def _name(finding: Finding) -> str:
    exact = finding.label in ("Support Devices", "Lung Lesion")
    return finding.kind if exact else finding.label


def _places(finding: Finding) -> tuple[list[str], list[str]]:
    """The regions that the report has to name, and all that would be right."""
    needed: list[str] = []
    allowed: list[str] = []
    for side in finding.sides or ("",):
        regions = regions_of(finding, side)
        # The lung around a zone is right, but naming the zone is enough.
        parts = {lung_of(region) for region in regions}
        needed += [region for region in regions if region not in parts]
        allowed += regions
    if finding.kind == "pacemaker":
        # Some reports say where its leads end.
        allowed.append("right atrium")
    return needed, allowed


def phantom(studies: int, seed: int) -> Measured:
    """Read drawn reports and compare with the facts behind them."""
    source = PhantomChestSource("test", studies, seed=seed, image_size=32)
    result = Measured()
    for index in range(len(source)):
        facts = source.study_facts(index)
        written = source.written(index)
        read = {
            (t.region, t.tag): t.existence
            for t in triplets(written.report.body)
            if t.existence != "absent"
        }
        allowed: dict[tuple[str, str], str] = {}
        named: dict[str, str] = {}
        for finding in facts.findings:
            name = _name(finding)
            tags = PHANTOM_TAGS[name]
            needed, right = _places(finding)
            for region in needed:
                hit = (region, tags[0]) in read
                result.add(name, region, stated=1, found=int(hit))
                if not hit:
                    result.wrong[f"missed {name} in {region}"] += 1
            for tag in tags:
                named.setdefault(tag, name)
                allowed |= {(region, tag): name for region in right}
        for region, tag in read:
            name = allowed.get((region, tag)) or named.get(tag, f"({tag})")
            right_one = (region, tag) in allowed
            result.add(name, region, read=1, right=int(right_one))
            if not right_one:
                result.wrong[f"read {tag} in {region}"] += 1
    return result


def mesh(
    rows: Sequence[dict[str, str]], seed: int = 0
) -> list[tuple[str, int, float, float, float, tuple[float, float]]]:
    """Column, positives, precision, recall, F1 and its bootstrap interval."""
    rng = np.random.default_rng(seed)
    given = [tag_vector(f"{row['findings']} {row['impression']}") for row in rows]
    draws = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    result = []
    for column, tags in MESH_TAGS.items():
        truth: npt.NDArray[np.bool_] = np.array([row[column] == "1" for row in rows])
        said = np.array([any(values[tag] == 1 for tag in tags) for values in given])
        hits, sums = truth & said, truth.astype(int) + said
        boot = 2 * hits[draws].sum(1) / np.maximum(sums[draws].sum(1), 1)
        low, high = np.quantile(boot, [0.025, 0.975])
        result.append(
            (
                column,
                int(truth.sum()),
                float(hits.sum() / max(said.sum(), 1)),
                float(hits.sum() / max(truth.sum(), 1)),
                float(2 * hits.sum() / max(sums.sum(), 1)),
                (float(low), float(high)),
            )
        )
    return sorted(result, key=lambda row: -row[1])


def _table(title: str, tallies: Iterable[tuple[str, Tally]]) -> str:
    lines = [
        f"| {title} | stated | recall | read | precision |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {t.stated} | {t.recall:.3f} | {t.read} | {t.precision:.3f} |"
        for name, t in sorted(tallies, key=lambda pair: (-pair[1].stated, pair[0]))
    ]
    return "\n".join(lines).replace("nan", "-")


def _total(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        for kind in ("stated", "found", "read", "right"):
            setattr(total, kind, getattr(total, kind) + getattr(tally, kind))
    return total


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truth", choices=("phantom", "mesh"))
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7, help="of the phantom")
    parser.add_argument("--errors", type=int, default=0, help="list the commonest")
    parser.add_argument("--reports", type=Path, default=DEFAULT)
    parser.add_argument("--half", choices=("dev", "test", "all"), default="test")
    options = parser.parse_args(argv)
    start = time.process_time()
    if options.truth == "phantom":
        found = phantom(options.studies, options.seed)
        everything = _total(found.findings.values())
        print(_table("finding", [("all", everything), *found.findings.items()]))
        print()
        print(_table("region", found.regions.items()))
        for line, count in found.wrong.most_common(options.errors):
            print(count, line)
        return 0
    if not options.reports.is_file():
        parser.error(f"no such file: {options.reports}; give --reports PATH")
    rows = read_half(options.reports, options.half)
    print("| label (tags) | coded | precision | recall | F1 (95 % interval) |")
    print("|---|---|---|---|---|")
    for column, number, precision, recall, f1, (low, high) in mesh(rows):
        name = column.removeprefix("label_").replace("_", " ")
        print(
            f"| {name} ({', '.join(MESH_TAGS[column])}) | {number} | {precision:.2f}"
            f" | {recall:.2f} | {f1:.2f} ({low:.2f}-{high:.2f}) |"
        )
    seconds = time.process_time() - start
    print(f"\n{len(rows)} reports ({options.half}), {seconds:.0f} CPU seconds in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
