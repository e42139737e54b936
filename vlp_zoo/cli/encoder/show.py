"""``vlpzoo show``: one image as a model sees it, as a page."""

from __future__ import annotations

from pathlib import Path

from vlp_zoo.cli.parser import Parser
from vlp_zoo.files import require_writable

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print scores and write the page."""
    parser = Parser(
        prog="vlpzoo show",
        description="Show where an encoder looks in an image, and, if its method reads "
        "texts, where it finds a text, how near findings are, and the nearest reports "
        "of a table. Writes a page with all pictures inside.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--encoder", required=True, help="the folder of a run, or another spec"
    )
    parser.repeat("--text", "TEXT", 'to find in the image, such as "left effusion"')
    parser.repeat(
        "--finding",
        "NAME",
        "to score by 'There is NAME.' and 'There is no NAME.' (those of CheXpert, on "
        "radiographs)",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="TABLE",
        help="table as --data pairs reads it; its nearest reports are shown",
    )
    parser.add_argument(
        "--colour", action="store_true", help="a photograph, not a radiograph"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("show.html"), help="the page (%(default)s)"
    )
    options = parser.parse_args(argv)
    require_writable(options.out.parent)

    from vlp_zoo.bench.sight import look, page
    from vlp_zoo.data.pairs import read_pairs
    from vlp_zoo.files import write_whole

    pool: list[str] = []
    if options.reports is not None:
        studies, _ = read_pairs(options.reports)
        pool = [body for report in studies.reports() if (body := report.body.strip())]
    sight = look(
        options.encoder,
        options.image,
        texts=options.text,
        findings=options.finding or None,
        pool=pool,
        colour=options.colour,
    )
    for heading, rows in (
        ("cosine of image and text", sight.texts),
        ("findings, affirmed minus denied", sight.findings),
        ("nearest reports", sight.reports),
    ):
        if rows:
            print(f"{heading}:")
        for words, value in rows:
            print(f"  {value:+.3f}  {' '.join(words.split())}")
    for line in sight.remarks:
        print(line)
    write_whole(options.out, page(sight, options.image.name, options.encoder))
    print(f"page: {options.out}")
    return 0
