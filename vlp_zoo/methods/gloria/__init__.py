"""GLoRIA: global-local alignment; `vlp_zoo.methods.gloria.gloria` reads beside the paper."""

from vlp_zoo.methods.gloria.gloria import GLoRIA, GLoRIABatch

__all__ = ["GLoRIA", "GLoRIABatch"]
