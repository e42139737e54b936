"""M-FLAG: frozen text, orthogonal image space; `vlp_zoo.methods.mflag.mflag` reads beside the paper."""

from vlp_zoo.methods.mflag.mflag import MFLAG, MFLAGBatch

__all__ = ["MFLAG", "MFLAGBatch"]
