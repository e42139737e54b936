"""Images per second from raw files and from a prepared store, and what they cost.

    python benchmarks/speed/data.py [--images 100] [--rounds 5] [--folder DIR]

One run measures, with two loader processes and the same transform (a random crop,
resized to 224 pixels):

- a folder of drawn radiographs of 2048 x 2500 pixels, read as it is;
- the store that ``vlpzoo prepare`` makes of it;
- the decode bound: two processes that do nothing but read the stored files, decode them
  and crop, without a data set, an index, batches or a parent;
- ``prepare`` on two processes against decoding, shrinking and encoding alone;
- the cost of one image in processor time of a single process, for both pairs;
- the memory of the loader processes over many samples of a long index.

Variants take turns, round by round, and ratios are medians over rounds, because other
work on a machine slows all of them alike. Time for processes to start counts for
``prepare`` and not for loaders, which live as long as a training. Torch is imported
where it is needed: the processes of ``prepare`` import this file when they start.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.allocator import keep_freed_memory
from vlp_zoo.data.pairs import PairColumns, read_pairs
from vlp_zoo.data.store.prepare import prepare, worker_pool
from vlp_zoo.data.store.raw_sets import scan_pairs
from vlp_zoo.data.store.reading import PreparedStudies
from vlp_zoo.data.store.slices import Settings, Slice, convert
from vlp_zoo.transforms import random_resized_crop
from vlp_zoo.types import Example, Study, StudySource

__all__ = ["main"]

HEIGHT, WIDTH = 2500, 2048
BATCH, SIZE, WORKERS = 64, 224, 2
COLUMNS = PairColumns(report="report")
REPORT = (
    "INDICATION: Cough and fever. COMPARISON: None. FINDINGS: The heart is mildly "
    "enlarged. There is a small left pleural effusion with adjacent atelectasis. No "
    "pneumothorax. The bones are intact. IMPRESSION: Small left pleural effusion."
)


class Crop:
    """The transform of every variant."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Study to one cropped image."""
        return {"image": random_resized_crop(study.image, rng, SIZE)[0][None]}


def loader_over(source: StudySource) -> Any:
    """Shuffled batches of a source, by processes that stay from epoch to epoch."""
    from vlp_zoo.loading import (
        EpochSampler,
        ResumableLoader,
        StudyDataset,
        start_worker,
    )

    return ResumableLoader(
        StudyDataset(source, Crop(), seed=0),
        batch_size=BATCH,
        sampler=EpochSampler(len(source), batch_size=BATCH),
        num_workers=WORKERS,
        worker_init_fn=start_worker,
        persistent_workers=True,
    )


def count(loader: Any) -> int:
    """Studies in one epoch."""
    return sum(len(batch["image"]) for batch in loader)


# Made files --------------------------------------------------------------------------


def draw(path: Path, index: int) -> None:
    """A synthetic chest at the size and with the grain of a digital radiograph."""
    from vlp_zoo.data.phantom.chest.source import PhantomChestSource

    image = PhantomChestSource("train", 10_000, image_size=256)[index].image
    rng = np.random.default_rng(index)
    large = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 2.5, (HEIGHT, WIDTH)).astype(np.float32)
    noisy = (large + cv2.GaussianBlur(grain, (0, 0), 0.8)).clip(0, 255)
    cv2.imwrite(str(path), noisy.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])


def write_raw(folder: Path, images: int, rows: int) -> Path:
    """A table of ``rows`` rows over ``images`` distinct files and links to them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"images/{i:05d}.jpg" for i in range(rows)]
    with worker_pool(WORKERS) as submit:
        made = [
            submit(draw, folder / names[i], i)
            for i in range(images)
            if not (folder / names[i]).exists()
        ]
        for future in made:
            future.result()
    for i in range(images, rows):
        if not (folder / names[i]).is_symlink():
            (folder / names[i]).symlink_to(Path(names[i % images]).name)
    table = folder / "pairs.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "report", "patient_id", "split"])
        writer.writerows([name, REPORT, name, "train"] for name in names)
    return table


def long_index(store: Path, folder: Path, rows: int) -> PreparedStudies:
    """A store whose index goes over the images of another one many times."""
    import pyarrow as pa

    folder.mkdir()
    for kind in ("images", "masks"):
        (folder / kind).symlink_to(store / kind)
    table = pa.ipc.open_file(pa.memory_map(str(store / "index.arrow"))).read_all()
    schema, n = table.schema, table.num_rows
    place = schema.get_field_index("uid")
    with (
        pa.OSFile(str(folder / "index.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, schema) as file,
    ):
        for start in range(0, rows, 4096):
            wanted = np.arange(start, min(start + 4096, rows))
            part = table.take(pa.array(wanted % n))
            uids = pa.array([f"row-{i}" for i in wanted])
            file.write_table(part.set_column(place, "uid", uids).combine_chunks())
    described = json.loads((store / "store.json").read_text())
    described["images"]["stored"] = rows
    (folder / "store.json").write_text(json.dumps(described))
    return PreparedStudies(folder)


# Bounds ------------------------------------------------------------------------------


def decode_only(paths: Sequence[Path], seed: int) -> int:
    """Read, decode and crop."""
    rng = np.random.default_rng(seed)
    for path in paths:
        random_resized_crop(_decoded(path), rng, SIZE)
    return len(paths)


def convert_only(paths: Sequence[Path], size: int) -> int:
    """Read, decode, shrink and encode."""
    for path in paths:
        image = _decoded(path)
        factor = size / min(image.shape)
        sides = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        small = cv2.resize(image, sides, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return len(paths)


def _decoded(path: Path) -> npt.NDArray[np.uint8]:
    content = np.fromfile(path, np.uint8)
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.uint8)


def in_pieces(
    submit: Callable[..., Any], work: Callable[..., int], paths: list[Path], last: int
) -> int:
    """Run a bound in the processes of a pool, in small pieces as prepare does."""
    pieces = [paths[i : i + 16] for i in range(0, len(paths), 16)]
    return sum(future.result() for future in [submit(work, p, last) for p in pieces])


# Rounds ------------------------------------------------------------------------------


def rate(work: Callable[[], int], clock: Callable[[], float]) -> float:
    """Images per second."""
    start = clock()
    done = work()
    return done / (clock() - start)


def take_turns(
    variants: Mapping[str, Callable[[], int]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Rates of every variant in every round; each round begins with another one."""
    names = list(variants)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rates[name].append(rate(variants[name], clock))
    return rates


def ratio(rates: dict[str, list[float]], over: str, under: str) -> float:
    """Median over rounds of one rate divided by another."""
    pairs = zip(rates[over], rates[under], strict=True)
    return statistics.median(a / b for a, b in pairs)


def show(rates: dict[str, list[float]]) -> None:
    """A line for each variant: the median and the range of its rates."""
    for name, found in rates.items():
        print(
            f"  {name:<28}{statistics.median(found):8.0f} images/s"
            f"  ({min(found):.0f} to {max(found):.0f})"
        )


def loading(raw: Path, store: Path, rounds: int) -> None:
    """Raw files, the store and its decode bound."""
    studies = PreparedStudies(store)
    # Long enough that filling the queues at the start does not count.
    often = np.tile(np.arange(len(studies)), 4)
    prepared = loader_over(studies.subset(often.tolist(), "prepared"))
    files = loader_over(read_pairs(raw, COLUMNS)[0])
    paths = [studies.images[i] for i in often]
    with worker_pool(WORKERS) as submit:
        variants = {
            "raw files": partial(count, files),
            "prepared store": partial(count, prepared),
            "decode bound": partial(in_pieces, submit, decode_only, paths, 0),
        }
        take_turns(variants, 1)
        rates = take_turns(variants, rounds)
    show(rates)
    print(
        f"  prepared / raw           {ratio(rates, 'prepared store', 'raw files'):.1f}"
    )
    bound = ratio(rates, "prepared store", "decode bound")
    print(f"  prepared / decode bound  {bound:.2f}")


def preparing(raw: Path, folder: Path, size: int, rounds: int) -> Path:
    """``prepare`` and its bound; returns one of the stores."""
    paths = sorted((raw.parent / "images").iterdir())
    numbers = iter(range(10**6))

    def whole() -> int:
        out = folder / f"store-{next(numbers)}"
        scan = partial(scan_pairs, raw, COLUMNS)
        store = prepare("pairs", scan, out, Settings(size), workers=WORKERS)
        return int(store["images"]["stored"])

    # The same processes, with the same settings of the allocator, as prepare has.
    with worker_pool(WORKERS) as submit:
        bound = partial(in_pieces, submit, convert_only, paths, size)
        in_pieces(submit, convert_only, paths[:64], size)
        rates = take_turns({"prepare": whole, "its bound": bound}, rounds)
    show(rates)
    print(f"  prepare / its bound      {ratio(rates, 'prepare', 'its bound'):.2f}")
    return folder / "store-0"


def processor_time(raw: Path, store: Path, size: int, rounds: int) -> None:
    """What one image costs one process, which other work on a machine changes least."""
    studies, slices = PreparedStudies(store), scan_pairs(raw, COLUMNS).read(64)
    few = next(slices)

    def read() -> int:
        for i in range(64):
            Crop()(studies[i], np.random.default_rng((0, 0, i)))
        return 64

    def write() -> int:
        with tempfile.TemporaryDirectory() as name:
            at = Path(name)
            none: frozenset[int] = frozenset()
            settings = Settings(size)
            convert(Slice(few, none, 0, 0, at, at, raw.parent, settings, True, "pairs"))
        return 64

    variants: dict[str, Callable[[], int]] = {
        "prepared store": read,
        "decode bound": partial(decode_only, studies.images[:64], 0),
        "prepare": write,
        "its bound": partial(convert_only, list(map(Path, few.images)), size),
    }
    take_turns(variants, 1)
    rates = take_turns(variants, rounds, time.process_time)
    show(rates)
    bound = ratio(rates, "prepared store", "decode bound")
    print(f"  prepared / decode bound  {bound:.2f}")
    print(f"  prepare / its bound      {ratio(rates, 'prepare', 'its bound'):.2f}")


def memory(studies: PreparedStudies) -> None:
    """Memory of the loader processes while they go over a long index."""
    loader = loader_over(studies)
    steps = len(loader)
    points = {round(steps * share / 10) for share in (0.2, 1, 2.5, 5, 7.5, 9.9)}
    print("  samples    own MB          shared and mapped MB, per loader process")
    for step, _ in enumerate(loader, 1):
        if step in points:
            workers = loader._iterator._workers
            found = [_resident(worker.pid) for worker in workers]
            own = ", ".join(f"{a:.1f}" for a, _ in found)
            mapped = ", ".join(f"{b:.1f}" for _, b in found)
            print(f"  {step * BATCH:<11}{own:<16}{mapped}")


def _resident(pid: int) -> tuple[float, float]:
    """Own and shared resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {line.split(":")[0]: line.split()[1] for line in lines if line[:3] == "Rss"}
    shared = int(kib["RssFile"]) + int(kib["RssShmem"])
    return int(kib["RssAnon"]) / 1024, shared / 1024


def main() -> None:
    """Print rates, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="distinct images")
    parser.add_argument("--rows", type=int, default=800, help="rows over these images")
    parser.add_argument("--size", type=int, default=512, help="side of stored images")
    parser.add_argument("--samples", type=int, default=100_000, help="memory: samples")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the drawn images there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    # As vlpzoo fit does before it starts its loader processes.
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = write_raw(options.folder or folder / "raw", options.images, options.rows)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{os.cpu_count()} cores, load {load}, {WORKERS} processes")
        print(f"prepare, {WIDTH} x {HEIGHT} to {options.size} pixels:")
        store = preparing(raw, folder, options.size, max(options.rounds // 2, 1))
        few = write_few(raw, options.images)
        print("one process, per second of its processor time:")
        processor_time(few, store, options.size, options.rounds)
        print(f"loading, {SIZE} pixel crops:")
        loading(few, store, options.rounds)
        if options.samples:
            print(f"memory, {options.samples} rows:")
            memory(long_index(store, folder / "long", options.samples))


def write_few(raw: Path, images: int) -> Path:
    """The table without the links: raw files are slow enough without them."""
    few = raw.with_name("few.csv")
    few.write_text("".join(raw.read_text().splitlines(keepends=True)[: images + 1]))
    return few


if __name__ == "__main__":
    main()
