"""Low-rank weights beside those of an encoder, by PEFT, which is imported when used."""

from __future__ import annotations

from torch import nn

from vlp_zoo.errors import ConfigError, DependencyNotFoundError

__all__ = ["add_low_rank"]


def add_low_rank(encoder: nn.Module, rank: int) -> None:
    """Put low-rank weights beside an encoder's own, which are frozen, by PEFT.

    Args:
        encoder: Changed in place; its output stays what it was until they are trained.
        rank: Their rank.

    Raises:
        DependencyNotFoundError: If PEFT is not installed.
        ConfigError: If the encoder has neither linear layers nor convolutions.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DependencyNotFoundError(
            "the package peft, for vlp-lora",
            str(error),
            "pip install 'vlp-zoo[adapt]'",
        ) from error
    linear = [n for n, m in encoder.named_modules() if isinstance(m, nn.Linear)]
    kernels = [
        name
        for name, module in encoder.named_modules()
        # Grouped convolutions take no low-rank product of all their channels.
        if isinstance(module, nn.Conv2d) and module.groups == 1
    ]
    chosen = linear or kernels
    if not chosen:
        raise ConfigError(
            "an encoder with linear layers or convolutions, for vlp-lora",
            f"{type(encoder).__name__} with neither",
            "use another preset, such as vlp-linear",
        )
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=chosen)
    inject_adapter_in_model(config, encoder)
