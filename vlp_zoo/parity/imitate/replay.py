"""Replay of recorded runs of the official IMITATE code (``vlpzoo parity imitate``).

A folder holds a recorded loss (embeddings in, numbers out), a recorded model (losses,
intermediates, gradients, three steps), or both; or the schedules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.methods.imitate.imitate import IMITATE, Pass
from vlp_zoo.methods.imitate.losses import Rows, correlation, prior
from vlp_zoo.parity.comparison import Comparison, Fixture, Read, replayed, same
from vlp_zoo.parity.imitate.losses import (
    close,
    replay_losses,
    replay_schedules,
    tolerances,
)
from vlp_zoo.parity.imitate.recording import CALLS, Draws, Recording, imitate_name

__all__ = ["replay_fixture"]

FLIPPED = 0.05
"""Share of parameters whose first step may differ in float32: Adam's is the sign of the
gradient, which rounding decides where it is almost zero."""


def replay_fixture(
    folder: Path, dtype: torch.dtype = torch.float32
) -> list[Comparison]:
    """Replay whatever a folder holds: losses, a model, schedules.

    Args:
        folder: Folder of the recorded run.
        dtype: Arithmetic of the replay, compared with the recorded float64 numbers.

    Raises:
        DatasetNotFoundError: If the folder holds no readable fixture.
    """
    if not folder.is_dir():
        raise DatasetNotFoundError(
            f"a fixture folder {folder}", "no such folder", "check --fixture"
        )
    rows: list[Comparison] = []
    try:
        if (folder / "schedules.json").is_file():
            rows += replay_schedules(_json(folder / "schedules.json"))
        if (folder / "losses.json").is_file():
            rows += replay_losses(_read(folder, "losses"), dtype)
        if (folder / "model.json").is_file():
            rows += _replay_model(_read(folder, "model"), dtype)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if isinstance(error, DatasetNotFoundError):
            raise
        raise DatasetNotFoundError(
            f"a recorded IMITATE run in {folder}",
            f"{type(error).__name__}: {error}",
            "fetch the fixture again",
        ) from error
    if not rows:
        raise DatasetNotFoundError(
            f"losses.json, model.json or schedules.json in {folder}",
            "none of them",
            "give a folder with a recorded IMITATE run",
        )
    return rows


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read(folder: Path, name: str) -> Fixture:
    tensors = load_file(folder / f"{name}.safetensors")
    return Fixture(Read(_json(folder / f"{name}.json")), Read(tensors))


def _replay_model(fixture: Fixture, dtype: torch.dtype) -> Iterator[Comparison]:
    replay = Recording(fixture, dtype)
    yield _weights(replay)
    drawn = replay.recorded_draws()
    yield _draws(replay, drawn)
    before = {k: v.clone() for k, v in replay.module.named_buffers()}
    with _seen(replay.module) as seen:
        run = replay.run(drawn)
    yield from _buffers(replay, before)
    losses = replay.losses(run)
    for name, value in losses.items():
        wanted = fixture.meta["losses_f64"][name]
        yield close(f"loss.{name}", value, wanted, tolerances(dtype).loss)
    yield from _intermediates(replay, seen)
    outputs = _outputs(replay, run)
    for key, expected in _under(fixture, "out/"):
        value = outputs[key.removeprefix("out/")]
        yield close(key, value, expected, tolerances(dtype).value, absolute=True)
    yield from _priors(replay)
    yield from _gradients(replay, losses["total"], outputs)
    yield from _trajectory(replay)
    yield from _evaluation(replay)
    yield from _inputs(replay)


def _inputs(replay: Recording) -> Iterator[Comparison]:
    """Sizes that follow from the tensors, and what of the recording was read."""
    fixture, config = replay.fixture, replay.config
    words = replay.state["lm_model.embeddings.word_embeddings.weight"]
    found = {
        "batch": len(replay.views[0]),
        "w": replay.views[0].shape[-1],
        "vocab": len(words),
        "Lf": fixture.get("in/find_ids").shape[1],
        "Li": fixture.get("in/imp_ids").shape[1],
    }
    for name, ours in found.items():
        yield same(f"setting.{name}", ours, config[name])
    prefixes = ("in/", "mask/", "eval/channel_mask/")
    recorded = {name for name in fixture.tensors if name.startswith(prefixes)}
    yield replayed(recorded | set(config), fixture.tensors.asked | config.asked, {})


def _under(fixture: Fixture, prefix: str) -> list[tuple[str, Tensor]]:
    found = sorted(fixture.tensors.items())
    return [(key, value) for key, value in found if key.startswith(prefix)]


def _weights(replay: Recording) -> Comparison:
    """The generated tensor whose norm or sum is off most."""
    worst = 0.0
    for key, info in replay.fixture.meta["param_info"].items():
        wide = replay.state[key].double()
        for ours, theirs in ((wide.sum(), info["sum"]), (wide.norm(), info["l2"])):
            worst = max(worst, abs(float(ours) - theirs) / max(info["l2"], 1e-12))
    count = len(replay.state)
    return Comparison(f"weights ({count} tensors)", float(count), count, worst, 1e-6)


def _draws(replay: Recording, drawn: Draws) -> Comparison:
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
    replay: Recording, seen: Mapping[str, list[Any]]
) -> Iterator[Comparison]:
    allowed = tolerances(replay.dtype).value
    found: dict[str, Tensor] = {}
    # The backbone ran once a view; both recorded passes saw the same stages.
    for (name, view), sequence, row in zip(
        CALLS, seen["sequence"], seen["row"], strict=True
    ):
        prefix = f"mid/view{view}_{name}"
        for number, level in enumerate(seen["levels"][view - 1], 1):
            found[f"{prefix}/stage{number}_channel_mean"] = level.mean((2, 3))
            found[f"{prefix}/stage{number}_sample0_ch0_3"] = level[0, :4]
        found[f"{prefix}/seq_sample0"] = sequence[0]
        found[f"{prefix}/seq_sample0_strided"] = sequence[0, ::8]
        found[f"{prefix}/seq_cls_row"] = sequence[:, -1]
        found[f"{prefix}/attn_cls_row"] = row
    for key, expected in _under(replay.fixture, "mid/"):
        yield close(key, found[key], expected, allowed, absolute=True)


def _outputs(replay: Recording, run: Pass) -> dict[str, Tensor]:
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


def _priors(replay: Recording) -> Iterator[Comparison]:
    allowed = tolerances(replay.dtype).loss
    for section, features in zip(("find", "imp"), replay.features, strict=True):
        rows = Rows(features, features, 0)
        expected = replay.fixture.get(f"prior/corr_{section}_emb")
        found = correlation(rows)
        yield close(f"prior/corr_{section}_emb", found, expected, allowed)
        prefix, suffix = "prior/smoothed_exp", f"_{section}_emb"
        for key, expected in _under(replay.fixture, prefix):
            if key.endswith(suffix):
                ratio = float(key.removeprefix(prefix).removesuffix(suffix))
                similar = prior(rows, "exp", ratio)
                if similar is not None:
                    yield close(key, similar, expected, allowed)


def _buffers(replay: Recording, before: Mapping[str, Tensor]) -> Iterator[Comparison]:
    """Running statistics after one forward pass of the official code.

    It updates those of the backbone and of the impression branch four times, with the
    statistics of view 1, 2, 1, 2; we update them twice. An update is an affine map, so
    the second round follows from the first.
    """
    allowed = tolerances(replay.dtype).value
    after = dict(replay.module.named_buffers())
    for key, expected in _under(replay.fixture, "buffers_after/"):
        official = key.removeprefix("buffers_after/")
        name = imitate_name(official) or ""
        value, start = after[name], before[name]
        if official.startswith(("encoder.", "diag_proj.")):
            kept = (1 - 0.1) ** 2
            once = value - kept * start
            value = 2 * value if value.dtype == torch.int64 else kept * value + once
        value = value.reshape(expected.shape)
        yield close(key, value, expected, allowed, absolute=True)


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
    replay: Recording, total: Tensor, outputs: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    fixture, meta = replay.fixture, replay.fixture.meta
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
    for key, expected in _under(fixture, "grad_sample/"):
        official = key.removeprefix("grad_sample/")
        if official not in zero:
            flat = gradients[imitate_name(official) or ""].flatten()
            places = _places(len(flat), 96).long()
            yield close(key, flat[places], expected, allowed)
    for key, expected in _under(fixture, "grad_full/"):
        official = key.removeprefix("grad_full/")
        value = gradients[imitate_name(official.removesuffix("_rownorm")) or ""]
        value = value.norm(dim=-1) if official.endswith("_rownorm") else value
        yield close(key, value, expected, allowed)
    for key, expected in _under(fixture, "grad_out/"):
        name = key.removeprefix("grad_out/")
        if name.endswith("_m2") and not name.startswith("find"):
            # Counted with the first pass.
            continue
        other = f"grad_out/{name.removesuffix('_m1')}_m2"
        if name.endswith("_m1") and not name.startswith("find"):
            # One tensor here, two there: its gradient is the sum of theirs.
            expected = expected.double() + fixture.get(other).double()
        yield close(key, gradients[name], expected, allowed)


def _trajectory(replay: Recording) -> Iterator[Comparison]:
    """Three AdamW steps on one batch, with channels drawn anew from seeds."""
    meta, allowed = replay.fixture.meta, tolerances(replay.dtype)
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
        for key, expected in _under(replay.fixture, "after_step1_sample/"):
            official = key.removeprefix("after_step1_sample/")
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
def _evaluation(replay: Recording) -> Iterator[Comparison]:
    """A fresh model in eval mode, on the first view."""
    module = replay.module = replay.fresh().eval()
    fixture = replay.fixture
    seen = module.image_encoder.pyramid(replay.views[0], len(module.channels))
    impression = module.impression_head(seen.pooled)
    levels = range(1, 1 + len(module.channels))
    drawn = [fixture.get(f"eval/channel_mask/stage{level}") for level in levels]
    found = {
        "eval/img_emb": seen.pooled,
        "eval/get_img_emb_view1": impression,
        "eval/channel_imp": impression,
        "eval/channel_find": module.findings_branch(seen.levels, drawn),
        "eval/all_emb_projected": module.text_head(replay.features[0]),
    }
    for stage in range(len(module.channels)):
        shown = replay.scale(stage)
        found[f"eval/scale{stage}_find"] = module.findings_branch(seen.levels, shown)
    allowed = tolerances(replay.dtype).value
    for key, expected in _under(fixture, "eval/"):
        if not key.startswith("eval/channel_mask/"):
            yield close(key, found[key], expected, allowed, absolute=True)
