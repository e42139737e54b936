"""``vlpzoo export``: an encoder as a folder for timm, with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.bench.encoders import encoder_file, sources_of
from vlp_zoo.cli.parser import Parser
from vlp_zoo.encoders.specs import origin, split_spec
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, FileWriteError
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.methods.joint import JointModel

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Write the folder."""
    parser = Parser(
        prog="vlpzoo export",
        description="Write an encoder as a folder that timm.create_model('local-dir:"
        "OUTDIR', pretrained=True) loads, with MODEL_CARD.md. ENCODER is the folder of a "
        "run or FILE.safetensors, timm:NAME, random:NAME, or official:LAYOUT:FILE.",
    )
    parser.add_argument("encoder", metavar="ENCODER")
    parser.add_argument(
        "folder",
        type=Path,
        metavar="OUTDIR",
        nargs="?",
        help="where to (with --push: NAME, in the current folder)",
    )
    parser.add_argument("--name", help="of the model, in its card (OUTDIR's name)")
    parser.add_argument(
        "--licence", help="terms of the weights, for the card (what is known)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder that bench wrote: its numbers for these weights go into the card "
        "(runs/bench, for a run in runs/)",
    )
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="write model.onnx too; with --joint image.onnx and text.onnx (needs onnx, "
        "onnxscript)",
    )
    parser.add_argument(
        "--joint",
        action="store_true",
        help="write what embeds texts beside the images too; ENCODER is a run's folder",
    )
    parser.add_argument(
        "--push",
        metavar="OWNER/NAME",
        help="upload the folder to the hub too; a new repository is private",
    )
    parser.add_argument(
        "--public", action="store_true", help="with --push: let everyone see it"
    )
    options = parser.parse_args(argv)
    repo: str | None = options.push
    if options.public and not repo:
        parser.error("--public goes with --push")
    if not options.folder and not repo:
        parser.error("the following arguments are required: OUTDIR (or --push)")

    from vlp_zoo.encoders.hub import require_push

    if repo:
        require_push(repo)
    folder: Path = options.folder or Path(str(repo).rpartition("/")[2])
    require_writable(folder)

    from vlp_zoo.encoders.checkpoint import load_encoder
    from vlp_zoo.encoders.identity import encoder_sha256
    from vlp_zoo.encoders.publish import publish, write_onnx

    spec = encoder_file(options.encoder)
    encoder = load_encoder(spec)
    card = _card(spec)
    if options.licence:
        card["weights_licence"] = options.licence
    sha256 = card.setdefault("sha256", encoder_sha256(encoder))
    lines = _results(options.results or _bench_beside(spec), sha256)
    if options.results and not lines:
        raise DatasetNotFoundError(
            f"results of these weights ({sha256[:12]}) in {options.results}",
            "none",
            "run vlpzoo bench on them first, or leave out --results",
        )
    name = options.name or folder.resolve().name
    joint = _joint(spec) if options.joint else None
    # Graphs first, so that a missing package leaves no half of an export behind.
    written: list[Path] = []
    if options.onnx and joint:
        from vlp_zoo.methods.joint import write_pair

        written += write_pair(joint, folder)
    elif options.onnx:
        written.append(write_onnx(encoder, folder))
    written += publish(
        encoder,
        card,
        folder,
        name=name,
        results=lines,
        repo=repo,
        joint=bool(joint),
    )
    if joint:
        from vlp_zoo.methods.joint import save_joint

        written += save_joint(joint, folder)
    for path in written:
        print(path)
    if repo:
        print(_push(folder, written, repo, options.public))
    return 0


def _joint(spec: str) -> JointModel:
    """What embeds images and texts, of the run that an encoder file belongs to."""
    from vlp_zoo.bench.joint import method_beside, same_images
    from vlp_zoo.methods.joint import joint_of

    path = Path(spec)
    method = method_beside(path) if path.is_file() else None
    if method is None:
        raise ConfigError(
            f"the checkpoint of a run beside {spec}, for its text side (--joint)",
            "none",
            "give the folder of a run, with checkpoints/last.ckpt in it",
        )
    joint = joint_of(method)
    if not same_images(method, path):
        raise ConfigError(
            f"a checkpoint with the image weights of {spec} (--joint)",
            "other weights: it was written earlier or later, or the file holds averages",
            "give the folder of the run or its best/, or leave out --joint",
        )
    return joint


def _push(folder: Path, written: list[Path], repo: str, public: bool) -> str:
    """Upload what was written, and nothing else of the folder."""
    from vlp_zoo.encoders.hub import push
    from vlp_zoo.encoders.publish import CARD, MODEL_CARD, ONNX, PARTS
    from vlp_zoo.methods.joint import JOINT_PARTS, PAIR

    files = {
        # The hub shows the card under this name.
        "README.md"
        if path.name == MODEL_CARD
        else path.relative_to(folder).as_posix(): path
        for path in written
    }
    # The card first: every export has one.
    ours = (CARD, *PARTS, *JOINT_PARTS, *PAIR, ONNX)
    try:
        return f"pushed to {push(files, repo, ours, public=public)}"
    except FileWriteError as error:
        raise FileWriteError(
            error.looked_for,
            error.found,
            f"{error.do_this}; {folder} is whole: run the same command again to push it",
        ) from error


def _card(spec: str) -> dict[str, Any]:
    from vlp_zoo.encoders.checkpoint import read_card

    if not split_spec(spec)[0]:
        return read_card(Path(spec))
    return {"origin": origin(spec), "pretraining_sources": sources_of(spec)}


def _bench_beside(spec: str) -> Path | None:
    """Where ``vlpzoo bench`` puts its results beside a run, ROOT/METHOD/VERSION."""
    if split_spec(spec)[0]:
        return None
    run = Path(spec).absolute().parent
    if run.name == "best":
        run = run.parent
    return run.parent.parent / "bench"


def _results(folder: Path | None, sha256: str) -> list[str]:
    """Lines of a table: what was measured for these weights, the newest of each."""
    from vlp_zoo.evaluation.results import ResultStore

    rows = [
        row
        for row in (ResultStore(folder).read() if folder else [])
        if row.encoder_sha256 == sha256
        and row.baseline is None
        and row.value is not None
    ]
    if not rows:
        return []
    newest = {(row.task, row.protocol, row.fraction, row.metric): row for row in rows}
    lines = [
        "| task | protocol | labels | metric | value [95 %] | test patients |",
        "|---|---|---|---|---|---|",
    ]
    for row in newest.values():
        interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low is not None else ""
        seen = " (shared images, see bench)" if row.details.get("contamination") else ""
        lines.append(
            f"| {row.task}{seen} | {row.protocol} | {row.fraction:.0%} | {row.metric} | "
            f"{row.value:.3f}{interval} | {row.n_patients} |"
        )
    return [*lines, "", "Intervals cover the choice of test patients."]
