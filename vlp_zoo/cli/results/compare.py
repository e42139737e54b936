"""``vlpzoo compare``: one encoder against another, paired, from stored results."""

from __future__ import annotations

import sys
from math import isnan

from vlp_zoo.cli.parser import StrictParser, add_results, at_least, results_of
from vlp_zoo.cli.screen import output

__all__ = ["main"]

NOTICE = "Intervals and p cover the choice of test patients, not the training of the encoders."


def main(argv: list[str]) -> int:
    """Print what the first encoder has over the second.

    Raises:
        ConfigError: If nothing was measured on the same test cases.
    """
    parser = StrictParser(
        prog="vlpzoo compare",
        description="Compare two encoders, A minus B, by the stored predictions of the "
        "same test cases: paired bootstrap over patients, DeLong's test for each label's "
        "AUROC (p adjusted by Holm's rule), McNemar's test of exclusive classes.",
    )
    parser.add_argument("first", metavar="A", help="name in the results")
    parser.add_argument("second", metavar="B", help="name of what is subtracted")
    add_results(parser)
    parser.add_argument(
        "--bootstrap",
        type=at_least(1),
        default=1000,
        metavar="R",
        help="replicates (1000)",
    )
    options = parser.parse_args(argv)
    from rich.table import Table

    from vlp_zoo.evaluation.statistics.metric_names import metric_title
    from vlp_zoo.leaderboard.compare import compare
    from vlp_zoo.leaderboard.runs import read_runs

    found, reasons = compare(
        read_runs(results_of(options)),
        options.first,
        options.second,
        replicates=options.bootstrap,
    )
    console = output()
    for each in found:
        row, gap = each.run.head, each.estimate
        table = Table(
            title=f"{row.task}: {row.protocol}, {100 * row.fraction:.3g}% of the labels",
            title_justify="left",
            box=None,
        )
        for heading in ("", options.first, options.second, "A - B [95 %]", "p"):
            table.add_column(heading, justify="right" if heading else "left")
        table.add_row(
            metric_title(row.metric),
            *(f"{value:.3f}" for value in each.values),
            f"{_signed(gap.value)} [{_signed(gap.low)}, {_signed(gap.high)}]",
            _p(gap.p_value),
        )
        for label, test in each.labels.items():
            table.add_row(f"  {label}", "", "", _signed(test.value), _p(test.p_value))
        console.print(table)
        if each.exact_p is not None:
            console.print(f"right and wrong classes, McNemar: p {_p(each.exact_p)}")
        if not each.independent and (each.labels or each.exact_p is not None):
            console.print(
                f"{row.n} images of {row.n_patients} patients: DeLong and McNemar count "
                "images as independent, the first line does not",
                soft_wrap=True,
            )
    for reason in reasons:
        print(f"not compared: {reason}", file=sys.stderr)
    print(NOTICE)
    return 0


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"


def _p(value: float | None) -> str:
    if value is None or isnan(value):
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
