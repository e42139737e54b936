"""``vlpzoo score``: more scores of generated reports, from stored texts."""

from __future__ import annotations

import sys

from vlp_zoo.cli.parser import StrictParser, add_results, results_of
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.evaluation.reports.scorers import (
    load_scorer,
    scorer_names,
    scorer_version,
)
from vlp_zoo.evaluation.statistics.metric_names import metric_title

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Score and store; what was scored before is found.

    Raises:
        ConfigError: If no scorer is named.
        DatasetNotFoundError: If no stored run has generated reports.
        DependencyNotFoundError: If a scorer or its weights are missing; what was scored
            by those before it is kept.
    """
    parser = StrictParser(
        prog="vlpzoo score",
        description="Score the generated reports of stored results by other packages' "
        "metrics: with intervals, and beside texts that know nothing of the image. "
        "Nothing is trained or written again.",
    )
    names = scorer_names()
    parser.repeat("--scorer", "NAME", f"may be repeated: {', '.join(names)}")
    add_results(parser)
    options = parser.parse_args(argv)
    if not options.scorer:
        raise ConfigError("at least one --scorer", "none", f"name {', '.join(names)}")
    from vlp_zoo.evaluation.reports.rescoring import more_scores
    from vlp_zoo.leaderboard.runs import read_runs

    folders = results_of(options)
    for name in dict.fromkeys(options.scorer):
        # Read again for each: what was just stored has the columns of those before.
        runs = [
            (run, cases)
            for run in read_runs(folders)
            if (cases := run.cases()) and "generated" in cases.columns
        ]
        if not runs:
            raise DatasetNotFoundError(
                f"generated reports in {', '.join(map(str, folders))}",
                "no run with its texts",
                "run vlpzoo bench --preset vlp-rrg first",
            )
        scorer = None
        for run, cases in runs:
            row = run.head
            who = f"{row.encoder} on {row.task}, {row.protocol}"
            if {name, f"{name}_f1_14_macro"} & run.rows.keys():
                print(f"{who}: {name} is there", file=sys.stderr)
                continue
            scorer = scorer or load_scorer(name)
            rows = more_scores(row, cases, name, scorer, scorer_version(name))
            first, *_ = run.store.add(rows)
            value = "undefined" if first.value is None else f"{first.value:.3f}"
            bounds = (
                ""
                if first.low is None or first.high is None
                else f" [{first.low:.3f}, {first.high:.3f}]"
            )
            best = first.details.get("chance")
            beside = "" if best is None else f"; best without the image {best:.3f}"
            print(f"{who}: {metric_title(first.metric)} {value}{bounds}{beside}")
    return 0
