"""Where ECAMP's released code and its paper part ways: one switch per point.

`vlp_zoo.methods.ecamp` explains each switch in its table of deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.ecamp.text import CORRECTED, OFFICIAL, TextRules

__all__ = ["VARIANTS", "Flags", "choice", "resolve_flags"]


@dataclass(frozen=True, slots=True)
class Flags:
    """Switches of one run; the defaults are the corrected variant."""

    masked_mean: bool = True
    padding_in_text_loss: bool = False
    force_descriptors: bool = True
    entities: str = "words"
    antialias: bool = True
    sr_final_relu: bool = False
    position_table: str = "mae"
    horizontal_flip: float = 0.0
    window_follows_crop: bool = True
    swap_window_axes: bool = False


VARIANTS: dict[str, tuple[Flags, TextRules]] = {
    "corrected": (Flags(), CORRECTED),
    "official": (
        Flags(
            masked_mean=False,
            padding_in_text_loss=True,
            force_descriptors=False,
            entities="tokens",
            antialias=False,
            sr_final_relu=True,
            position_table="ecamp",
            horizontal_flip=0.5,
            window_follows_crop=False,
            swap_window_axes=True,
        ),
        OFFICIAL,
    ),
}
"""Name of a variant to its switches and text rules."""


def choice(name: str, value: str, *allowed: str) -> None:
    """Refuse a value that is not among the allowed ones.

    Raises:
        ConfigError: Naming the option and its values.
    """
    if value not in allowed:
        raise ConfigError(
            f"--model.{name} among {', '.join(allowed)}", repr(value), "pick one"
        )


def resolve_flags(
    variant: str,
    *,
    insert_contexts: bool = True,
    rebalance: bool = True,
    **given: Any,
) -> tuple[Flags, TextRules]:
    """Switches of a variant, with those replaced that were given.

    Args:
        variant: A name of `VARIANTS`.
        insert_contexts: False leaves reports as they are.
        rebalance: False weighs all tokens alike.
        **given: Fields of `Flags`; None follows the variant.

    Returns:
        The switches and the text rules that agree with them.

    Raises:
        ConfigError: If a name or a value is not known.

    Example:
        >>> resolve_flags("official", antialias=True)[0].masked_mean
        False
    """
    choice("variant", variant, *VARIANTS)
    flags, rules = VARIANTS[variant]
    flags = replace(flags, **{k: v for k, v in given.items() if v is not None})
    choice("position_table", flags.position_table, "mae", "ecamp")
    choice("entities", flags.entities, "words", "tokens")
    if not 0 <= flags.horizontal_flip <= 1:
        raise ConfigError(
            "--model.horizontal_flip between 0 and 1",
            f"{flags.horizontal_flip}",
            "give a probability",
        )
    rules = replace(
        rules,
        force_descriptors=flags.force_descriptors,
        weigh_padding=flags.padding_in_text_loss,
        single_tokens=flags.entities == "tokens",
    )
    if not insert_contexts:
        rules = replace(rules, insert_probability=0.0)
    if not rebalance:
        # What stock phrases do not lose, the words around entities cannot gain.
        rules = replace(rules, template_weight=1.0)
    return flags, rules
