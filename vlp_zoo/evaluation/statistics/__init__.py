"""Metrics, intervals over patients, paired tests, subgroups."""

from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    bootstrap,
    case_means,
    hierarchical_interval,
    interval,
    paired_difference,
    paired_interval,
    paired_means,
    resample_patients,
)

__all__ = [
    "Interval",
    "Statistic",
    "bootstrap",
    "case_means",
    "hierarchical_interval",
    "interval",
    "paired_difference",
    "paired_interval",
    "paired_means",
    "resample_patients",
]
