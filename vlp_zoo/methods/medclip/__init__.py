"""MedCLIP: images and texts that are not paired; `vlp_zoo.methods.medclip.medclip` reads beside the paper."""

from vlp_zoo.methods.medclip.medclip import MedCLIP, MedCLIPBatch

__all__ = ["MedCLIP", "MedCLIPBatch"]
