"""Metrics, intervals over patients, paired tests, subgroups."""

from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Statistic,
    bootstrap,
    case_means,
    hierarchical_interval,
    interval,
    label_statistic,
    paired_difference,
    paired_interval,
    resample_patients,
)

__all__ = [
    "Interval",
    "Statistic",
    "bootstrap",
    "case_means",
    "hierarchical_interval",
    "interval",
    "label_statistic",
    "paired_difference",
    "paired_interval",
    "resample_patients",
]
