"""ECAMP: entity-centred context-aware pre-training; `vlp_zoo.methods.ecamp.ecamp` reads beside the paper."""

from vlp_zoo.methods.ecamp.ecamp import ECAMP, ECAMPBatch

__all__ = ["ECAMP", "ECAMPBatch"]
