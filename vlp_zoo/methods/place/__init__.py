"""PLACE: prompting observations and exploring correlations; `vlp_zoo.methods.place.place` reads beside the paper."""

from vlp_zoo.methods.place.place import PLACE

__all__ = ["PLACE"]
