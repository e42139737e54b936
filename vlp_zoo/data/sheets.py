"""Official tables that were published as spreadsheets: `vlp_zoo.reading` reads them."""

from vlp_zoo.reading import read_table as read_sheet

__all__ = ["read_sheet"]
