"""Replay of recorded runs of the official IMITATE code (``vlpzoo parity imitate``).

A folder holds a recorded loss (embeddings in, numbers out), a recorded model (losses,
intermediates, gradients, three steps), or both; or the schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.methods.imitate.imitate import IMITATE, Pass
from vlp_zoo.methods.imitate.losses import Rows, correlation, prior
from vlp_zoo.parity.comparison import Comparison, close, same
from vlp_zoo.parity.imitate.losses import replay_losses, replay_schedules, tolerances
from vlp_zoo.parity.imitate.recording import CALLS, Draws, Model, imitate_name
from vlp_zoo.parity.replay import Recording, Replay, count_inputs, under

__all__ = ["replay_fixture"]

FLIPPED = 0.05
"""Share of parameters whose first step may differ in float32: Adam's is the sign of the
gradient, which rounding decides where it is almost zero."""


def _replay_model(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    replay = Model(recording, dtype)
    yield _weights(replay)
    drawn = replay.recorded_draws()
    yield _draws(replay, drawn)
    before = {k: v.clone() for k, v in replay.module.named_buffers()}
    with _seen(replay.module) as seen:
        run = replay.run(drawn)
    yield from _buffers(replay, before)
    losses = replay.losses(run)
    for name, value in losses.items():
        wanted = replay.meta["losses_f64"][name]
        yield close(f"loss.{name}", value, wanted, tolerances(dtype).loss)
    yield from _intermediates(replay, seen)
    outputs = _outputs(replay, run)
    yield from _entries(replay, "out/", outputs)
    yield from _priors(replay)
    yield from _gradients(replay, losses["total"], outputs)
    yield from _trajectory(replay)
    yield from _evaluation(replay)
    yield from _inputs(replay)


def _inputs(replay: Model) -> Iterator[Comparison]:
    """Sizes that follow from the tensors, and what of the recording was read."""
    tensors, config = replay.tensors, replay.config
    words = replay.state["lm_model.embeddings.word_embeddings.weight"]
    found = {
        "batch": len(replay.views[0]),
        "w": replay.views[0].shape[-1],
        "vocab": len(words),
        "Lf": tensors["in/find_ids"].shape[1],
        "Li": tensors["in/imp_ids"].shape[1],
    }
    for name, ours in found.items():
        yield same(f"setting.{name}", ours, config[name])
    prefixes = ("in/", "mask/", "eval/channel_mask/")
    yield count_inputs(
        {
            "": (tensors, lambda name: name.startswith(prefixes)),
            "config.": config,
        },
    )


def _entries(
    replay: Model, prefix: str, ours: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """Compare tensors by their name after a prefix."""
    allowed = tolerances(replay.dtype).value
    for name, expected in under(replay.tensors, prefix).items():
        if not name.startswith("channel_mask/"):  # draws, which were taken
            yield close(prefix + name, ours[name], expected, allowed, absolute=True)


def _weights(replay: Model) -> Comparison:
    """The generated tensor whose norm or sum is off most."""
    worst = 0.0
    for key, info in replay.meta["param_info"].items():
        wide = replay.state[key].double()
        for ours, theirs in ((wide.sum(), info["sum"]), (wide.norm(), info["l2"])):
            worst = max(worst, abs(float(ours) - theirs) / max(info["l2"], 1e-12))
    count = len(replay.state)
    return Comparison(f"weights ({count} tensors)", float(count), count, worst, 1e-6)


def _draws(replay: Model, drawn: Draws) -> Comparison:
    """How many stored channels our order of draws does not give."""
    ours = replay.seeded_draws(replay.config["mask_seed"])
    pairs = [
        pair for call in CALLS for pair in zip(ours[call], drawn[call], strict=True)
    ]
    wrong = sum(not torch.equal(mine, stored) for mine, stored in pairs)
    return Comparison(
        f"mask ({len(pairs)} draws)", float(wrong), 0.0, float(wrong), 0.0
    )


@contextmanager
def _seen(module: IMITATE) -> Iterator[dict[str, list[Any]]]:
    """What passes through the visual parts, call by call."""
    seen: dict[str, list[Any]] = {"levels": [], "sequence": [], "row": []}
    branch, encoder = module.findings_branch, module.image_encoder
    sequence, attend, pyramid = branch.sequence, branch.attend, encoder.pyramid

    def keep(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            result = function(*args)
            levels = isinstance(result, EncoderOutput)
            seen[name].append(result.levels if levels else result.detach())
            return result

        return wrapped

    parts: tuple[tuple[nn.Module, str, str, Callable[..., Any]], ...] = (
        (branch, "sequence", "sequence", sequence),
        (branch, "attend", "row", attend),
        (encoder, "pyramid", "levels", pyramid),
    )
    for owner, method, name, function in parts:
        setattr(owner, method, keep(name, function))
    try:
        yield seen
    finally:
        for owner, method, _, _ in parts:
            delattr(owner, method)


@torch.no_grad()
def _intermediates(
    replay: Model, seen: Mapping[str, list[Any]]
) -> Iterator[Comparison]:
    found: dict[str, Tensor] = {}
    # The backbone ran once a view; both recorded passes saw the same stages.
    for (name, view), sequence, row in zip(
        CALLS, seen["sequence"], seen["row"], strict=True
    ):
        prefix = f"view{view}_{name}"
        for number, level in enumerate(seen["levels"][view - 1], 1):
            found[f"{prefix}/stage{number}_channel_mean"] = level.mean((2, 3))
            found[f"{prefix}/stage{number}_sample0_ch0_3"] = level[0, :4]
        found[f"{prefix}/seq_sample0"] = sequence[0]
        found[f"{prefix}/seq_sample0_strided"] = sequence[0, ::8]
        found[f"{prefix}/seq_cls_row"] = sequence[:, -1]
        found[f"{prefix}/attn_cls_row"] = row
    yield from _entries(replay, "mid/", found)


def _outputs(replay: Model, run: Pass) -> dict[str, Tensor]:
    """Our tensors under the recording's names; both passes share some."""
    named = {
        "find_emb": replay.features[0],
        "imp_emb": replay.features[1],
        "find_emb_proj": run.text_findings,
        "imp_emb_proj": run.text_impression,
    }
    for index, view in enumerate((1, 2)):
        named[f"find_emb{view}_m1"] = run.findings[index]
        named[f"find_emb{view}_m2"] = run.findings_again[index]
        for name in ("m1", "m2"):
            named[f"img_emb{view}_{name}"] = run.pooled[index]
            named[f"imp_emb{view}_{name}"] = run.impression[index]
    return named


def _priors(replay: Model) -> Iterator[Comparison]:
    allowed = tolerances(replay.dtype).loss
    for section, features in zip(("find", "imp"), replay.features, strict=True):
        rows = Rows(features, features, 0)
        expected = replay.tensors[f"prior/corr_{section}_emb"]
        found = correlation(rows)
        yield close(f"prior/corr_{section}_emb", found, expected, allowed)
        prefix, suffix = "prior/smoothed_exp", f"_{section}_emb"
        for name, expected in under(replay.tensors, prefix).items():
            if name.endswith(suffix):
                similar = prior(rows, "exp", float(name.removesuffix(suffix)))
                if similar is not None:
                    yield close(prefix + name, similar, expected, allowed)


def _buffers(replay: Model, before: Mapping[str, Tensor]) -> Iterator[Comparison]:
    """Running statistics after one forward pass of the official code.

    It updates those of the backbone and of the impression branch four times, with the
    statistics of view 1, 2, 1, 2; we update them twice. An update is an affine map, so
    the second round follows from the first.
    """
    allowed = tolerances(replay.dtype).value
    after = dict(replay.module.named_buffers())
    for official, expected in under(replay.tensors, "buffers_after/").items():
        name = imitate_name(official) or ""
        value, start = after[name], before[name]
        if official.startswith(("encoder.", "diag_proj.")):
            kept = (1 - 0.1) ** 2
            once = value - kept * start
            value = 2 * value if value.dtype == torch.int64 else kept * value + once
        value = value.reshape(expected.shape)
        title = f"buffers_after/{official}"
        yield close(title, value, expected, allowed, absolute=True)


def _places(count: int, most: int) -> Tensor:
    # The recording rounded `torch.linspace` in float32, from both ends, on a processor
    # that multiplies and adds in one rounding; others may land one entry beside it.
    points = min(most, count)
    last = torch.tensor(count - 1, dtype=torch.float32)
    step = (last / max(points - 1, 1)).double()
    left = torch.arange(points, dtype=torch.float64)
    right = last - step * (points - 1 - left)
    return torch.where(left < points // 2, step * left, right).float().round()


def _gradients(
    replay: Model, total: Tensor, outputs: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    tensors, meta = replay.tensors, replay.meta
    allowed, of_norms = tolerances(replay.dtype).gradient, tolerances(replay.dtype).norm
    named = dict(replay.module.named_parameters())
    shared = {name: value for name, value in outputs.items() if value.requires_grad}
    inputs = [*named.values(), *shared.values()]
    found = torch.autograd.grad(total, inputs, retain_graph=True)
    gradients = dict(zip((*named, *shared), found, strict=True))
    zero = set(meta["structurally_zero_grad"])
    norms = meta["grad_norm_f64"]
    yield close("grad_params", len(norms), len(named), 0.0)
    whole = torch.stack([gradients[name].norm() for name in named]).norm()
    yield close("grad_norm.total", whole, meta["total_grad_norm_f64"], of_norms)
    for key, wanted in norms.items():
        norm = gradients[imitate_name(key) or ""].norm()
        # What is zero in exact arithmetic is rounding noise: small beside the rest.
        exact = key not in zero
        yield (
            close(f"grad_norm.{key}", norm, wanted, of_norms)
            if exact
            else close(f"grad_norm.{key}", norm, 0.0, 1e-3, absolute=True)
        )
    for key, expected in under(tensors, "grad_sample/").items():
        if key not in zero:
            flat = gradients[imitate_name(key) or ""].flatten()
            places = _places(len(flat), 96).long()
            yield close(f"grad_sample/{key}", flat[places], expected, allowed)
    for key, expected in under(tensors, "grad_full/").items():
        value = gradients[imitate_name(key.removesuffix("_rownorm")) or ""]
        value = value.norm(dim=-1) if key.endswith("_rownorm") else value
        yield close(f"grad_full/{key}", value, expected, allowed)
    for name, expected in under(tensors, "grad_out/").items():
        once = name.startswith("find")
        if name.endswith("_m2") and not once:
            # Counted with the first pass.
            continue
        if name.endswith("_m1") and not once:
            # One tensor here, two there: its gradient is the sum of theirs.
            other = tensors[f"grad_out/{name.removesuffix('_m1')}_m2"]
            expected = expected.double() + other.double()
        yield close(f"grad_out/{name}", gradients[name], expected, allowed)


def _trajectory(replay: Model) -> Iterator[Comparison]:
    """Three AdamW steps on one batch, with channels drawn anew from seeds."""
    meta, allowed = replay.meta, tolerances(replay.dtype)
    replay.module = replay.fresh()
    parameters = dict(replay.module.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05
    )
    zero = set(meta["structurally_zero_grad"])
    for step, wanted in enumerate(meta["loss_sequence_3_steps_f64"]):
        drawn = replay.seeded_draws(replay.config["mask_seed"] + step)
        total = replay.losses(replay.run(drawn))["total"]
        yield close(f"step{step + 1}.loss", total, wanted, allowed.trajectory)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step:
            continue
        wrong = count = 0
        for official, expected in under(replay.tensors, "after_step1_sample/").items():
            if official in zero:
                continue
            flat = parameters[imitate_name(official) or ""].detach().flatten()
            value = flat[_places(len(flat), 32).long()]
            wrong += int(((value.double() - expected.double()).abs() > 2e-6).sum())
            count += len(value)
        share = wrong / max(count, 1)
        most = 0.0 if replay.dtype == torch.float64 else FLIPPED
        yield Comparison(f"step1.parameters ({count})", float(wrong), 0.0, share, most)


@torch.no_grad()
def _evaluation(replay: Model) -> Iterator[Comparison]:
    """A fresh model in eval mode, on the first view."""
    module = replay.module = replay.fresh().eval()
    seen = module.image_encoder.pyramid(replay.views[0], len(module.channels))
    impression = module.impression_head(seen.pooled)
    levels = range(1, 1 + len(module.channels))
    drawn = [replay.tensors[f"eval/channel_mask/stage{level}"] for level in levels]
    found = {
        "img_emb": seen.pooled,
        "get_img_emb_view1": impression,
        "channel_imp": impression,
        "channel_find": module.findings_branch(seen.levels, drawn),
        "all_emb_projected": module.text_head(replay.features[0]),
    }
    for stage in range(len(module.channels)):
        shown = replay.scale(stage)
        found[f"scale{stage}_find"] = module.findings_branch(seen.levels, shown)
    yield from _entries(replay, "eval/", found)


replay_fixture = Replay(
    "IMITATE",
    {
        "schedules.json": replay_schedules,
        "losses.json": replay_losses,
        "model.json": _replay_model,
    },
)
