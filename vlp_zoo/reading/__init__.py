"""The one room in which files of other people are read: tables, JSON and texts.

A file is read right or refused by name, and what was done in the reader's place is
said. `files` finds the bytes (regular files only, unpacked within bounds) and their
characters, `tables` and `sheets` make cells of them, `jsons` makes values.
"""

from vlp_zoo.reading.files import listing, read_bytes, read_text
from vlp_zoo.reading.jsons import parse_json, read_json
from vlp_zoo.reading.tables import plain_id, read_table

__all__ = [
    "listing",
    "parse_json",
    "plain_id",
    "read_bytes",
    "read_json",
    "read_table",
    "read_text",
]
