"""Metrics, intervals over patients, paired tests, subgroups."""
