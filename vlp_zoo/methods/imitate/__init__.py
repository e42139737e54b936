"""IMITATE: clinical-prior guided hierarchical pre-training; `vlp_zoo.methods.imitate.imitate` reads beside the paper."""

from vlp_zoo.methods.imitate.imitate import IMITATE, IMITATEBatch

__all__ = ["IMITATE", "IMITATEBatch"]
