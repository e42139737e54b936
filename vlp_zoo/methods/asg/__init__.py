"""ASG: anatomical structure-guided pre-training; `vlp_zoo.methods.asg.asg` reads beside the paper."""

from vlp_zoo.methods.asg.asg import ASG, ASGBatch

__all__ = ["ASG", "ASGBatch"]
