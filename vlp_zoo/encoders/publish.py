"""An encoder as a folder that others can use: for timm, with a model card, for ONNX.

The folder has the form that timm reads from the hub or from disk
(``timm.create_model("local-dir:FOLDER", pretrained=True)``), and is an encoder file of
this package at the same time.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from vlp_zoo.encoders.checkpoint import save_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DependencyNotFoundError, EncoderLoadError
from vlp_zoo.files import slug, write_whole

__all__ = [
    "CARD",
    "MODEL_CARD",
    "PARTS",
    "WEIGHTS",
    "model_card",
    "publish",
    "timm_config",
    "write_graph",
    "write_onnx",
]

WEIGHTS, CARD, CONFIG = "model.safetensors", "model.json", "config.json"
"""An encoder file, its card, and what timm reads beside them."""
PARTS = (WEIGHTS, CARD, CONFIG)
"""What an export is loaded from."""
MODEL_CARD, ONNX = "MODEL_CARD.md", "model.onnx"
UNKNOWN = "not recorded"
ENCODER_USE = """\
encoder = vz.from_pretrained("{}")
features = vz.embed(["a.dcm", "b.png"], encoder)"""
JOINT_USE = """\
model = vz.from_pretrained("{}")
features = vz.embed(["a.dcm", "b.png"], model.image_encoder)
texts = model.embed_texts(["No pleural effusion.", "Left pleural effusion."])
images = model.embed_images(pixels)  # uint8 (B, 1 or 3, S, S), prepared as below
similarities = images @ texts.T"""
CROPS = {"pad": "border", "squash": "squash"}
"""Our ways to make images square, in timm's words."""


def publish(
    encoder: ImageEncoder,
    card: Mapping[str, Any],
    folder: Path,
    *,
    name: str,
    results: Sequence[str] = (),
    repo: str | None = None,
    joint: bool = False,
) -> list[Path]:
    """Write weights, timm's config, our card and the model card.

    Args:
        encoder: Whose weights.
        card: What is known of it, as of `read_card`.
        folder: Where to; made if need be.
        name: Name of the model, for its card.
        results: Lines of a table of results, for the card.
        repo: Where on the hub it will be, for the card.
        joint: Whether the folder embeds texts too.

    Returns:
        The files.

    Raises:
        EncoderLoadError: If it pools its features as no network of timm does; nothing
            is written then.
    """
    config = json.dumps(timm_config(encoder), indent=2) + "\n"
    kept = dict(card)
    # The date and versions of the training, not those of this export.
    if "made" in kept:
        kept.setdefault("trained", kept.pop("made"))
    save_encoder(folder / WEIGHTS, encoder, kept)
    written = [*(folder / part for part in PARTS), folder / MODEL_CARD]
    write_whole(folder / CONFIG, config)
    text = model_card(encoder, kept, name=name, results=results, repo=repo, joint=joint)
    write_whole(folder / MODEL_CARD, text)
    return written


def timm_config(encoder: ImageEncoder) -> dict[str, Any]:
    """The content of ``config.json`` as timm writes and reads it.

    Args:
        encoder: Whose architecture and preprocessing.

    Raises:
        EncoderLoadError: If it pools its features as no network of timm does.
    """
    if encoder.pooling == "first":
        raise EncoderLoadError(
            "an encoder that pools as a network of timm does",
            "one that pools by the first place of its map, which timm has no name for",
            "vlpzoo convert keeps it with its pooling; bench reads it as it is",
        )
    arguments = dict(encoder.spec["timm"])
    name = str(arguments.pop("model_name")).partition(".")[0]
    recipe, network = encoder.preprocessing, encoder.timm
    own: Any = getattr(network, "pretrained_cfg", {})
    side = encoder.image_size
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": encoder.width,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": "vlp_zoo",
            "custom_load": False,
            "input_size": [3, side, side],
            "fixed_input_size": encoder.is_vit,
            "interpolation": recipe["interpolation"],
            # The whole image, made square as here; nothing is cropped.
            "crop_pct": 1.0,
            "crop_mode": CROPS[str(recipe.get("resize", "pad"))],
            "mean": encoder.mean,
            "std": encoder.std,
            "num_classes": 0,
            "pool_size": None if encoder.is_vit else list(encoder.grid),
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
        },
    }


def model_card(
    encoder: ImageEncoder,
    card: Mapping[str, Any],
    *,
    name: str,
    results: Sequence[str] = (),
    repo: str | None = None,
    joint: bool = False,
) -> str:
    """The text of ``MODEL_CARD.md``; what no one recorded is said to be so.

    Args:
        encoder: Whose architecture and preprocessing.
        card: What is known of it.
        name: Name of the model.
        results: Lines of a table of results.
        repo: Where on the hub it will be.
        joint: Whether texts can be embedded too.
    """

    def known(key: str) -> str:
        value = card.get(key)
        return UNKNOWN if value in (None, "", [], "unknown") else str(value)

    timm_name = f"hf-hub:{repo}" if repo else "local-dir:FOLDER"
    spec = encoder.spec["timm"]
    count = sum(parameter.numel() for parameter in encoder.timm.parameters())
    recipe = encoder.preprocessing
    square = "squashed" if recipe.get("resize") == "squash" else "padded with black"
    sources = ", ".join(card.get("pretraining_sources") or []) or UNKNOWN
    made: Mapping[str, Any] = card.get("trained") or {}
    versions = ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items())
    compute: Mapping[str, Any] = card.get("compute") or {}
    spent = ", ".join(f"{key} {value}" for key, value in compute.items())
    settings = [
        f"- {key}: `{value}`"
        for key, value in sorted((card.get("hyper_parameters") or {}).items())
    ]
    parts: dict[str, list[str]] = {
        "Model details": [
            (
                f"- Architecture: timm `{spec['model_name']}`, {count / 1e6:.2f} M weights, "
                f"{encoder.width} features, images of {encoder.image_size} px"
            ),
            f"- Method: {known('method')}",
            # Older cards say where a file lay, and nothing of a training's start.
            f"- Origin: {known('origin' if card.get('origin') else 'source')}",
            f"- Weights: SHA-256 `{card.get('sha256', UNKNOWN)}`",
            f"- Terms of the weights: {known('weights_licence')}",
        ],
        "Uses": [
            "Features of medical images for research: probes, fine-tuning, retrieval.",
            "",
            (
                "Out of scope: any clinical use. The model was not validated for diagnosis, "
                "triage or any decision about a patient, and is no medical device."
            ),
        ],
        "Bias, risks and limitations": [
            (
                "- It knows the patients, scanners and habits of reporting of its training "
                "data, and may do worse elsewhere; nothing here measures how much."
            ),
            (
                "- Features may carry age, sex, device or site, and a head may use them "
                "instead of disease."
            ),
            (
                "- Numbers on data sets that share images with the training data are too "
                "high; compare with the list below."
            ),
        ],
        "How to use": [
            "```python",
            "import vlp_zoo as vz",
            "",
            *(JOINT_USE if joint else ENCODER_USE).format(repo or "FOLDER").split("\n"),
            "```",
            "",
            "or without this package, on images prepared as below:",
            "",
            "```python",
            "import timm",
            "",
            f'model = timm.create_model("{timm_name}", pretrained=True)',
            "config = timm.data.resolve_model_data_config(model)",
            "```",
            "",
            (
                'From a folder: `timm.create_model("local-dir:FOLDER", '
                "pretrained=True)`, or `vlpzoo bench --encoder "
                "FOLDER/model.safetensors --task TASK`."
            ),
        ],
        "Training data": [
            f"- Data sets: {sources}",
            f"- As the run called it: {known('data')}",
            f"- Fingerprint of the training split: {known('data_fingerprint')}",
            f"- Terms of the data: {known('data_licence')}",
        ],
        "Training procedure": [
            (
                f"- Epochs: {known('epochs')}; steps: {known('steps')}; seed: "
                f"{known('seed')}; averaged weights: {known('averaged')}"
            ),
            *settings,
        ],
        "Preprocessing": [
            (
                f"Whole images, {square} to a square of {encoder.image_size} px "
                f"({recipe['interpolation']}), grey ones repeated to three channels, pixels "
                f"in 0..1, mean {_short(encoder.mean)}, deviation {_short(encoder.std)}."
            ),
        ],
        "Evaluation": list(results)
        or ["Nothing was measured for this card. See `vlpzoo bench`."],
        "Compute": [
            f"- {spent or UNKNOWN}",
            f"- Machine: {made.get('machine', UNKNOWN)}",
        ],
        "Provenance": [
            f"- Made: {made.get('date', UNKNOWN)}",
            (
                f"- Code: vlp_zoo {made.get('vlp_zoo', UNKNOWN)}, commit "
                f"{made.get('commit') or UNKNOWN}"
            ),
            f"- Versions: {versions or UNKNOWN}",
        ],
    }
    lines = [
        *("---", *_front(card, joint), "---"),
        *(f"# Model card for {name}", "", "Research only. Not for clinical use."),
    ]
    for title, content in parts.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


HUB_LICENCES = frozenset(
    {
        *("apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0"),
        *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0", "mit"),
    }
)
"""Terms that the hub knows by these words; others are named in words of their own."""


def _front(card: Mapping[str, Any], joint: bool) -> list[str]:
    """What the hub reads at the head of a card."""
    terms = str(card.get("weights_licence") or "")
    head: dict[str, Any] = {
        "library_name": "timm",
        "pipeline_tag": (
            "zero-shot-image-classification" if joint else "image-feature-extraction"
        ),
        "tags": ["timm", "vlp_zoo", "medical"],
    }
    if terms.lower() in HUB_LICENCES:
        head["license"] = terms.lower()
    elif terms:
        head |= {"license": "other", "license_name": slug(terms).lower()}
    return yaml.safe_dump(head, sort_keys=False).splitlines()


def _short(values: Sequence[float]) -> str:
    return str([round(value, 4) for value in values])


class _Outputs(nn.Module):
    """Pooled vector and tokens, as ONNX has no classes."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.encoder(images)
        return output.pooled, output.tokens


def write_onnx(encoder: ImageEncoder, folder: Path) -> Path:
    """Write ``model.onnx``: normalised images in, pooled vectors and tokens out.

    Args:
        encoder: In evaluation mode.
        folder: Where to.

    Raises:
        DependencyNotFoundError: If the packages that torch exports with are missing.
    """
    side = encoder.image_size
    images = torch.zeros(2, 3, side, side), [torch.export.Dim("batch")]
    path = folder / ONNX
    write_graph(
        _Outputs(encoder).eval(), {"images": images}, ["pooled", "tokens"], path
    )
    return path


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, Sequence[torch.export.Dim]]],
    outputs: Sequence[str],
    path: Path,
) -> None:
    """Write a module as an ONNX graph.

    Args:
        module: In evaluation mode.
        inputs: Name to an example, and those of its leading axes that are free.
        outputs: Names of what it gives.
        path: The file.

    Raises:
        DependencyNotFoundError: If the packages that torch exports with are missing.
        ConfigError: If the graph takes examples of one size only.
    """
    needed = ("onnx", "onnxscript")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise DependencyNotFoundError(
            f"the packages {' and '.join(needed)}, for --onnx",
            f"no {' and no '.join(absent)}",
            f"pip install {' '.join(absent)}, or leave out --onnx",
        )

    def export(part: Path) -> None:
        program: Any = torch.onnx.export(
            module,
            tuple(example for example, _ in inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={
                name: dict(enumerate(axes)) for name, (_, axes) in inputs.items()
            },
            dynamo=True,
            external_data=False,
        )
        # A network that asks for the size of a batch fixes it, without a word.
        for made, (_, axes) in zip(
            program.model.graph.inputs, inputs.values(), strict=True
        ):
            if any(isinstance(size, int) for size in list(made.shape)[: len(axes)]):
                raise ConfigError(
                    f"a graph of any {' and '.join(axis.__name__ for axis in axes)}",
                    f"one whose {made.name} are {list(made.shape)} exactly",
                    "leave out --onnx for this network",
                )

    write_whole(path, export)
