"""The synthetic chest world: anatomy and pathology drawn, and the report about them."""

from vlp_zoo.data.phantom.chest.source import SPLITS, VERSION, PhantomChestSource

__all__ = ["SPLITS", "VERSION", "PhantomChestSource"]
