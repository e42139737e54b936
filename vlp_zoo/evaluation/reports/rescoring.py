"""More scores of texts that are stored: nothing is trained or written again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlp_zoo.evaluation.reports.judging import measures_beside
from vlp_zoo.evaluation.reports.scores import (
    BASELINES,
    Array,
    Scorer,
    score_columns,
    score_statistics,
)
from vlp_zoo.evaluation.results import Cases, Result

__all__ = ["more_scores"]


def more_scores(
    head: Result, cases: Cases, name: str, scorer: Scorer, by: str
) -> list[Result]:
    """Rows of another score of a run, with its intervals and its baselines.

    Args:
        head: The run's headline.
        cases: Its cases, with the generated texts, the references and the texts of the
            baselines.
        name: Name of the score.
        scorer: What gives it.
        by: Package and version behind it.

    Returns:
        Rows of the same run; their cases are those given, and the score of each.
    """
    texts = {
        column: [str(text) for text in cases.columns[column]]
        for column in ("generated", "reference", *BASELINES)
        if column in cases.columns
    }
    references = texts.pop("reference")
    used = [k for k, n in enumerate(cases.label_names) if n not in head.undefined]
    values: dict[str, Array] = {who: scorer(t, references) for who, t in texts.items()}
    statistics = {
        who: score_statistics(name, each, used) for who, each in values.items()
    }
    mine = values["generated"]
    measures, alone = measures_beside(
        statistics.pop("generated"),
        statistics,
        cases.patient_ids,
        replicates=int(head.settings.get("replicates", 1000)),
        seed=head.seed,
    )
    start = name if mine.ndim == 1 else f"{name}_"
    stored = replace(cases, columns={**cases.columns, **score_columns(start, mine)})
    kept = {k: v for k, v in head.details.items() if k not in ("floors", "chance")}
    kept["scored_by"] = {**kept.get("scored_by", {}), name: by}
    if lost := int(np.isnan(mine).sum()):
        kept["cases_without_score"] = lost
    return [
        replace(
            head,
            metric=measure.metric,
            value=measure.value,
            low=measure.low,
            high=measure.high,
            per_label={},
            details={**kept, **measure.details},
            cases=stored,
            predictions=None,
        )
        for measure in (*measures, *alone)
    ]
