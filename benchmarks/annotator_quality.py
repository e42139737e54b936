"""How well the rule-based annotator agrees with manual MeSH coding of real reports.

    python benchmarks/annotator_quality.py --half test

reads the Open-i table (findings + impression, ``label_*`` columns derived from the
manual MeSH codes) and prints precision, recall and F1 for each finding as Markdown.
The lexicon and rules were developed on the half of the patients whose SHA-256 is
even (``dev``); only the other half (``test``) is a fair measurement.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlp_zoo.reports.annotate import label_vector
from vlp_zoo.reports.words.lexicon import FINDINGS, NO_FINDING

__all__ = ["Score", "half_of", "main", "markdown", "read_half", "scores"]

DEFAULT = Path(__file__).parents[2] / "shared/realdata/reports_text/reports.csv"
LEAST_POSITIVES = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """Agreement on one finding.

    Attributes:
        finding: Name.
        positives: Reports that the coder labelled with it.
        uncertain: Reports that the annotator called uncertain.
        precision: Uncertain counted as absent.
        recall: Uncertain counted as absent.
        f1: Uncertain counted as absent.
        interval: 95 % bootstrap interval of ``f1`` over reports (= patients).
        f1_uncertain_positive: F1 with uncertain counted as present.
    """

    finding: str
    positives: int
    uncertain: int
    precision: float
    recall: float
    f1: float
    interval: tuple[float, float]
    f1_uncertain_positive: float


def half_of(patient_id: str) -> str:
    """``"dev"`` or ``"test"``, fixed for a patient."""
    digest = hashlib.sha256(patient_id.encode()).hexdigest()
    return "dev" if int(digest, 16) % 2 == 0 else "test"


def read_half(path: Path, half: str) -> list[dict[str, str]]:
    """Rows of the table that belong to a half ("dev", "test" or "all")."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            row
            for row in csv.DictReader(file)
            if half == "all" or half_of(row["patient_id"]) == half
        ]


def _f1(
    truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]
) -> tuple[float, float, float]:
    hit = float((truth & said).sum())
    precision = hit / said.sum() if said.any() else 0.0
    recall = hit / truth.sum() if truth.any() else 0.0
    total = float(truth.sum() + said.sum())
    return float(precision), float(recall), 2 * hit / total if total else 0.0


def scores(rows: Sequence[dict[str, str]], seed: int = 0) -> list[Score]:
    """Agreement for each finding that is coded at least `LEAST_POSITIVES` times."""
    rng = np.random.default_rng(seed)
    given = [label_vector(f"{row['findings']} {row['impression']}") for row in rows]
    draws = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    result = []
    for finding in (*FINDINGS, NO_FINDING):
        column = f"label_{finding.replace(' ', '_')}"
        truth = np.array([row[column] == "1" for row in rows])
        value = np.array([labels[finding] or 0 for labels in given])
        if truth.sum() < LEAST_POSITIVES:
            continue
        precision, recall, f1 = _f1(truth, value == 1)
        hits, sums = truth & (value == 1), truth.astype(int) + (value == 1)
        boot = 2 * hits[draws].sum(1) / np.maximum(sums[draws].sum(1), 1)
        low, high = np.quantile(boot, [0.025, 0.975])
        result.append(
            Score(
                finding,
                int(truth.sum()),
                int((value == -1).sum()),
                precision,
                recall,
                f1,
                (float(low), float(high)),
                _f1(truth, value != 0)[2],
            )
        )
    return sorted(result, key=lambda score: -score.positives)


def markdown(found: Sequence[Score]) -> str:
    """The scores as a Markdown table, the most frequent finding first."""
    lines = [
        (
            "| finding | coded | precision | recall | F1 (95 % interval) | uncertain"
            " | F1, uncertain as present |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.finding} | {s.positives} | {s.precision:.2f} | {s.recall:.2f}"
        f" | {s.f1:.2f} ({s.interval[0]:.2f}-{s.interval[1]:.2f}) | {s.uncertain}"
        f" | {s.f1_uncertain_positive:.2f} |"
        for s in found
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table and the annotator's speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=Path, default=DEFAULT)
    parser.add_argument("--half", choices=("dev", "test", "all"), default="test")
    arguments = parser.parse_args(argv)
    if not arguments.reports.is_file():
        parser.error(f"no such file: {arguments.reports}; give --reports PATH")
    rows = read_half(arguments.reports, arguments.half)
    start = time.process_time()
    for row in rows:
        label_vector(f"{row['findings']} {row['impression']}")
    seconds = time.process_time() - start
    print(markdown(scores(rows)))
    print(
        f"\n{len(rows)} reports ({arguments.half}); {len(rows) / seconds:.0f} reports"
        " per CPU second, cold cache"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
