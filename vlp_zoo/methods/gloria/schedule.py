"""The optimiser of GLoRIA's released code."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.gloria.options import GLoRIAOptions

__all__ = ["released_optimizer"]


def released_optimizer(method: pl.LightningModule, options: GLoRIAOptions) -> Any:
    """Adam at a constant rate, or at one that is halved where ``val/loss`` stands still.

    Args:
        method: Whose parameters; what is frozen is left out.
        options: Rate, decay, averaging coefficients, and the schedule.

    Raises:
        ConfigError: If the schedule needs a validation loss and there is none.
    """
    if options.schedule == "plateau" and not method.trainer.limit_val_batches:
        raise ConfigError(
            "a validation loss to halve the rate by (--model.schedule plateau)",
            "no validation",
            "set --trainer.limit_val_batches above 0, or --model.schedule constant",
        )
    beta1, beta2 = options.betas
    optimizer = Adam(
        [p for p in method.parameters() if p.requires_grad],
        lr=options.learning_rate,
        betas=(beta1, beta2),
        weight_decay=options.weight_decay,
    )
    if options.schedule == "constant":
        return optimizer
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    watched = {"scheduler": schedule, "monitor": "val/loss", "interval": "epoch"}
    return {"optimizer": optimizer, "lr_scheduler": watched}
