"""``vlpzoo bench``: its options, the plan that they make, and what is printed."""

from __future__ import annotations

from vlp_zoo.cli.bench.bench import main, note, print_table

__all__ = ["main", "note", "print_table"]
