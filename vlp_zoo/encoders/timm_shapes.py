"""What a timm network makes of an image: measured on a blank one, never assumed.

No single attribute of timm says how wide pooled features and tokens are, or which
image sizes a network reads, for all its families. So the network is asked, with
weights and image on torch's meta device: shapes are exact and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vlp_zoo.encoders.hub import one_line
from vlp_zoo.encoders.timm_names import check_size, usual_size
from vlp_zoo.errors import ConfigError

__all__ = ["Shapes", "as_map", "fitted", "measure", "once", "tokens_of"]


@dataclass(frozen=True)
class Shapes:
    """Sizes of a network's outputs for one image size.

    Attributes:
        width: D of pooled features and tokens.
        grid: Rows and columns of the tokens.
        channels: Channels of each level, fine to coarse.
        sides: Rows and columns of each level.
        tokens: Which output the tokens are: the last ``"level"``; the ``"final"`` map,
            which some networks widen after their last level; or the final map with the
            hidden layers of the ``"head"`` applied at each place.
    """

    width: int
    grid: tuple[int, int]
    channels: tuple[int, ...]
    sides: tuple[tuple[int, int], ...]
    tokens: Literal["level", "final", "head"]


T = TypeVar("T")

_ANSWERS: dict[str, tuple[object, Any]] = {}


def once(arguments: Mapping[str, Any], question: object, ask: Callable[[], T]) -> T:
    """An answer that hangs on a network's arguments alone, asked once in a process.

    Args:
        arguments: Arguments of ``timm.create_model``.
        question: What is asked, and of which size.
        ask: Finds the answer; an error of its own is raised and not kept.
    """
    key = repr((sorted(arguments.items()), question))
    if key not in _ANSWERS:
        # Functions and classes show by their address: kept, so that none gets it anew.
        _ANSWERS[key] = dict(arguments), ask()
    answer: T = _ANSWERS[key][1]
    return answer


class _Asked(nn.Module):
    """All outputs of a network in one call, as `torch.func.functional_call` wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Any, list[Tensor], Tensor]:
        network: Any = self.network
        final, levels = network.forward_intermediates(images)
        return final, levels, network.forward_head(final, pre_logits=True)


def _outputs(network: nn.Module, size: int, device: str) -> Any:
    """Final features, levels and pooled vector of one blank image."""
    asked = _Asked(network)
    named = [*asked.named_parameters(), *asked.named_buffers()]
    moved = {name: tensor.to(device) for name, tensor in named}
    blank = torch.zeros(1, 3, size, size, device=device)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return torch.func.functional_call(asked, moved, (blank,))
    finally:
        network.train(training)


def measure(network: nn.Module, size: int, pooling: str = "avg") -> Shapes:
    """The sizes of a network's outputs; its weights and state are left alone.

    Args:
        network: Made by timm, without classifier; may be on the meta device.
        size: Side of the square images, in pixels.
        pooling: The network's pooling, from `fitted`. Where it is by one token, all
            tokens are taken from the same features, after the last norm.

    Raises:
        ConfigError: If tokens and pooled features cannot be made equally wide.
        Exception: Whatever the network raises that does not read such images.
    """
    try:
        final, levels, pooled = _outputs(network, size, "meta")
    except RuntimeError as error:
        # A few networks look at values, and can be asked on a real device only.
        if ".item()" not in str(error) or next(network.parameters()).is_meta:
            raise
        final, levels, pooled = _outputs(network, size, "cpu")
    width = int(pooled.shape[1])
    channels = tuple(int(level.shape[1]) for level in levels)
    sides = tuple((int(x.shape[-2]), int(x.shape[-1])) for x in levels)
    last = levels[-1]
    tokens: Literal["level", "final", "head"] = "level"
    if pooling in ("token", "first"):
        tokens = "final"
    elif channels[-1] != width:
        if not isinstance(final, Tensor) or final.ndim != 4:
            raise ConfigError(
                "an image encoder with one map of features",
                f"{type(network).__name__}, whose pooled features ({width}) come from "
                f"several maps (the last has {channels[-1]} channels)",
                "choose another network; vlpzoo info encoders lists what is known",
            )
        last = as_map(network, final)
        tokens = "final" if last.shape[1] == width else "head"
    grid = (int(last.shape[-2]), int(last.shape[-1]))
    return Shapes(width, grid, channels, sides, tokens)


def as_map(
    network: nn.Module, final: Tensor, grid: tuple[int, int] | None = None
) -> Tensor:
    """Final features as (B, C, h, w).

    Args:
        network: Made by timm.
        final: Final features of the network: such a map, one with channels last, or (B,
            P, C) with class token and registers before the places.
        grid: Rows and columns, of the last kind.
    """
    if final.ndim == 3 and grid is not None:
        first = int(getattr(network, "num_prefix_tokens", 0))
        return torch.unflatten(final[:, first:].transpose(1, 2), 2, grid)
    last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return final.permute(0, 3, 1, 2) if last else final


def tokens_of(network: nn.Module, final: Tensor) -> Tensor:
    """What the head's hidden layers make of each place, as wide as pooled features.

    A token is what an image that looks everywhere like its place would be pooled to.

    Args:
        network: A network whose tokens are those of its ``"head"``.
        final: Final features of the network.

    Returns:
        (B, D, h, w).
    """
    places = as_map(network, final)
    batch, channels, h, w = places.shape
    alone = places.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    if getattr(network, "output_fmt", "NCHW") == "NHWC":
        alone = alone.permute(0, 2, 3, 1)
    # The statistics of a batch norm in the head are those of pooled features.
    norms = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
    ]
    for part in norms:
        part.eval()
    try:
        made: Tensor = network.forward_head(alone, pre_logits=True)  # type: ignore[operator]
    finally:
        for part in norms:
            part.train()
    return made.reshape(batch, h, w, -1).permute(0, 3, 1, 2)


def _draft(arguments: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its weights; no random number is drawn."""
    with torch.device("meta"):
        made: nn.Module = timm.create_model(**arguments)
    return made


def fitted(
    arguments: Mapping[str, Any], image_size: int | None, pooling: str
) -> tuple[dict[str, Any], int, str]:
    """Arguments with which a network reads images of a size and pools as wanted.

    Args:
        arguments: Arguments of ``timm.create_model``, ``img_size`` left out or not.
        image_size: Side wanted; None = that of the arguments, else the usual one.
        pooling: ``"token"`` or ``"avg"``, heeded by plain ViTs with a class token;
            ``"first"``, heeded by networks that are no plain ViTs.

    Returns:
        Arguments, side, and the pooling that the network has.

    Raises:
        ConfigError: If the network cannot read that size, with sizes that it reads.
    """
    made, size, pooling = once(
        arguments,
        ("fitted", image_size, pooling),
        lambda: _fitted(arguments, image_size, pooling),
    )
    return dict(made), size, pooling


def _fitted(
    arguments: Mapping[str, Any], image_size: int | None, pooling: str
) -> tuple[dict[str, Any], int, str]:
    made = {**arguments, "num_classes": 0}
    name = str(made["model_name"])
    preset = made.pop("img_size", None)
    draft = _draft(made)
    size = int(image_size or preset or usual_size(name, draft))
    if not isinstance(draft, VisionTransformer):
        own = str(made.get("global_pool") or "avg")
        return _sized(made, draft, size), size, "first" if pooling == "first" else own
    check_size(size, made)
    made["img_size"] = size
    if draft.cls_token is None:
        # Made without one: the network's own pooling, of which weights know.
        made.pop("global_pool", None)
        return made, size, str(draft.global_pool)
    if isinstance(draft, VisionTransformerDistilled):
        return made, size, "token"
    if pooling not in ("token", "avg"):
        raise ConfigError(
            f"a pooling of {name} among token and avg", repr(pooling), "pick one"
        )
    made["global_pool"] = pooling
    if pooling == "avg":
        made.setdefault("fc_norm", False)
    return made, size, pooling


def _sized(arguments: dict[str, Any], draft: nn.Module, size: int) -> dict[str, Any]:
    """Arguments with which a network that is no plain ViT reads images of a size."""
    why = _refusal(draft, size)
    if not why:
        return arguments
    if not _refused_at(arguments, size):
        return {**arguments, "img_size": size}
    name = str(arguments["model_name"])
    near = sorted(range(32, 2 * size + 64, 32), key=lambda side: abs(side - size))
    tried = sorted({usual_size(name, draft), *near[:6]})
    works = [
        str(side)
        for side in tried
        if not _refusal(draft, side) or not _refused_at(arguments, side)
    ]
    raise ConfigError(
        f"an image size that {name} reads",
        f"image_size={size} ({why})",
        f"use {' or '.join(works)}" if works else "choose another network",
    )


def _refused_at(arguments: Mapping[str, Any], size: int) -> str:
    """Why a network made for a size does not read it; "" if it does."""
    try:
        draft = _draft({**arguments, "img_size": size})
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        return one_line(error)
    return _refusal(draft, size)


def _refusal(draft: nn.Module, size: int) -> str:
    try:
        measure(draft, size)
    except ConfigError:
        raise
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        # A network that looks at values cannot be drafted; it is asked once it is made.
        return "" if ".item()" in str(error) else one_line(error)
    return ""
