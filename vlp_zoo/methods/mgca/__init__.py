"""MGCA: multi-granularity alignment; `vlp_zoo.methods.mgca.mgca` reads beside the paper."""

from vlp_zoo.methods.mgca.mgca import MGCA

__all__ = ["MGCA"]
