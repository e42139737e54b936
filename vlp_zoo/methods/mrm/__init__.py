"""MRM: masked record modelling; `vlp_zoo.methods.mrm.mrm` reads beside the paper."""

from vlp_zoo.methods.mrm.mrm import MRM, MRMBatch

__all__ = ["MRM", "MRMBatch"]
