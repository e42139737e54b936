"""A row of results with nothing in it, for tests that look at one field or two."""

from __future__ import annotations

from vlp_zoo.evaluation.results import Result

BLANK = Result(
    key="k",
    encoder="e",
    encoder_sha256="s",
    role="encoder",
    task="toy",
    split_sha256="s",
    data_sha256="d",
    protocol="p",
    settings={},
    fraction=1.0,
    seed=0,
    metric="macro_auroc",
    value=0.0,
    low=None,
    high=None,
    n=1,
    n_patients=1,
    n_train=1,
    per_label={},
    undefined={},
    details={},
)
