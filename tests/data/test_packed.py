"""Sources as bytes that processes share: the same studies, made once, never mistaken."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.fakes.pairs import write_faulty_pairs, write_pairs
from tests.fakes.processes import on_two_processes
from vlp_zoo.data import DATASETS, packed
from vlp_zoo.data.catalogue import card_of, to_studies
from vlp_zoo.data.datamodules import Pairs
from vlp_zoo.data.packed import Address, Packed, PackedPath, open_packed, pack
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.data.records import MaskRef
from vlp_zoo.data.studies import COLUMNS, FileStudies
from vlp_zoo.errors import StoreError
from vlp_zoo.files import cache_folder
from vlp_zoo.reading import read_text
from vlp_zoo.types import Box, Example, Report, Study

ODD = FileStudies(
    "odd é",
    uids=["a", "b é😀", "\udc80 not of Unicode"],
    patient_ids=["1", "1", ""],
    study_ids=["", "line\nline", "nul\0"],
    images=[Path("/a/b.png"), Path("c\udc80.png"), Path()],
    texts=["FINDINGS: None.", Path("/r\udc81.txt"), Report("t", "i", headed=True)],
    rows=[2, 3, 2**40],
    views=["PA", None, "AP"],
    label_names=("Nodule", "é"),
    labels=np.array([[1, np.nan], [0, 0.5], [-0.0, 1]], np.float32),
    boxes=['[{"xyxy": [1, 2, 3, 4]}]', (Box("heart", (1.0, 2, 3.5, np.nan)),), ()],
    masks=[
        (),
        (MaskRef("disc", "file", Path("m.png"), two_valued=True, levels=(0, None)),),
        (
            MaskRef("lung", "polygon", [[1, 2.5], [3, 4]], size=(8, 9)),
            MaskRef("mass", "rle_relative", "-1"),
        ),
    ],
    facts=[{"age": 3, "sex": "F", "known": True}, {}, {"7": ("x", [1, {"k": None}])}],
    colour=True,
    original_sizes=[None, (1, 2), None],
)


def same(one: FileStudies, other: FileStudies) -> bool:
    """Whether two sources have equal cells of equal types, NaN for NaN.

    Paths are `PackedPath` in one that was packed.
    """
    labels = one.labels.tobytes() == other.labels.tobytes()
    about = ("name", "label_names", "colour", "fingerprint")
    return labels and all(
        cells(one, name) == cells(other, name)
        if name in COLUMNS
        else getattr(one, name) == getattr(other, name)
        for name in (*about, *COLUMNS)
    )


def cells(studies: FileStudies, name: str) -> str:
    return repr(list(getattr(studies, name))).replace("PosixPath", "PackedPath")


def test_a_packed_path_is_one_string_that_opens(tmp_path: Path) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x")
    packed = PackedPath(str(file))
    assert packed == file
    assert file == packed
    assert hash(packed) == hash(file)
    assert (str(packed), Path(packed)) == (str(file), file)
    assert read_text(packed) == "x"
    assert packed != str(file)
    assert packed != PackedPath("b")


def packed_file(address: Address | None) -> Path:
    assert address is not None
    return address.path


def test_cells_are_what_they_were() -> None:
    found, address = pack(ODD)
    assert address is not None
    assert same(found, ODD)
    # What no repr shows.
    assert [text.headed for text in found.texts if isinstance(text, Report)] == [True]
    assert found.masks[1] == ODD.masks[1]
    assert found.uids == ODD.uids
    assert ODD.uids == found.uids
    assert found.uids != ["a"]
    assert found.uids != "a"
    assert found.uids[1:] == ODD.uids[1:]
    assert found.rows[-1] == 2**40
    assert same(found.subset([2, 0], "part"), ODD.subset([2, 0], "part"))
    # A packed source can be packed again, and is the same file.
    assert pack(found)[1] == address
    unlabelled = replace(ODD, label_names=(), labels=np.empty((3, 0), np.float32))
    assert same(pack(unlabelled)[0], unlabelled)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_can_be_packed(name: str, tmp_path: Path) -> None:
    fake = importlib.import_module(f"tests.fakes.{name}")
    getattr(fake, f"write_{name}")(tmp_path, faults=True)
    card = card_of(name)
    studies = to_studies(card, list(card.read(tmp_path)))
    found, address = pack(studies)
    assert address is not None
    assert same(found, studies)


def test_studies_are_decoded_as_before(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, n=6)
    studies, _ = read_pairs(path)
    found, _ = pack(studies)
    for index in range(6):
        one, other = studies[index], found[index]
        assert np.array_equal(one.image, other.image)
        assert repr(replace(one, image=0)) == repr(replace(other, image=0))  # type: ignore[arg-type]
    assert list(found.reports()) == list(studies.reports())


def test_a_pickle_names_the_file_and_holds_no_cell(tmp_path: Path) -> None:
    many = ODD.subset([0, 1, 2] * 500, "many")
    found, address = pack(many)
    pickled = pickle.dumps(found)
    assert len(pickled) < 1500 + many.labels.nbytes
    assert same(pickle.loads(pickled), many)
    path = packed_file(address)
    assert path.parent.stat().st_mode & 0o077 == 0
    for damage in (path.read_bytes()[:-1], b"", None):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        with pytest.raises(StoreError, match="packed"):
            pickle.loads(pickled)
        # Who has it open already is not touched by it.
        assert same(found, many)
        path.touch()
    assert pack(many)[1] == address
    assert same(pickle.loads(pickled), many)


class Uid:
    """A transform that hands on the name."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        return {"uid": study.uid, "text": study.report.body}


@pytest.mark.slow
def test_spawned_loader_processes_read_the_same(tmp_path: Path) -> None:
    path, rows = write_pairs(tmp_path, n=6)
    shares: dict[str, Any] = {"val_fraction": 0, "test_fraction": 0, "batch_size": 2}
    data = Pairs(str(path), num_workers=1, start_method="spawn", **shares)
    batches = list(data.make_loader("train", Uid()))
    assert [uid for b in batches for uid in b["uid"]] == [row["image"] for row in rows]


class Frozen:
    """A transform that counts the objects that Python's search for circles leaves be."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        return {"frozen": gc.get_freeze_count()}


def test_loader_processes_do_not_search_what_their_parent_has_made(
    tmp_path: Path,
) -> None:
    shares: dict[str, Any] = {"val_fraction": 0, "test_fraction": 0, "batch_size": 2}
    data = Pairs(str(write_pairs(tmp_path, n=4)[0]), num_workers=1, **shares)
    before = gc.get_freeze_count()
    batches = list(data.make_loader("train", Frozen()))
    # The search would write to every object, and copy the page that it is on.
    assert min(int(batch["frozen"].min()) for batch in batches) > before + 1000
    assert gc.get_freeze_count() <= before


# Two processes -----------------------------------------------------------------------


def trained(
    path: Path, rank: int, meanwhile: Callable[[Pairs], None], nodes: int = 1
) -> tuple[Pairs, list[str]]:
    """The data module after Lightning's first steps, and who read the table."""
    data = Pairs(str(path), on_error="skip", val_fraction=0.3, test_fraction=0)
    trainer = SimpleNamespace(
        world_size=2,
        node_rank=rank * (nodes > 1),
        local_rank=0 if nodes > 1 else rank,
        default_root_dir=str(path.parent / f"rank-{rank}"),
    )
    data.trainer = trainer  # type: ignore[assignment]
    reads, read = [], data._read

    def counted() -> Any:
        reads.append("read")
        return read()

    data._read = counted  # type: ignore[method-assign]
    if trainer.local_rank == 0:
        data.prepare_data()
        meanwhile(data)
    data.setup()
    return data, reads


def nothing(data: Pairs) -> None:
    """What mostly happens."""


def gone(data: Pairs) -> None:
    for address in data._packed.values():
        address.path.unlink()


def damaged(data: Pairs) -> None:
    for address in data._packed.values():
        content = address.path.read_bytes()
        address.path.unlink()
        address.path.write_bytes(content.replace(b"p0", b"p1"))


@pytest.mark.parametrize(
    ("meanwhile", "nodes", "expected"),
    [
        (nothing, 1, [1, 0]),
        (nothing, 2, [1, 1]),
        (gone, 1, [1, 1]),
        (damaged, 1, [1, 1]),
    ],
    ids=["one node", "two nodes", "gone", "damaged"],
)
def test_the_second_process_takes_what_the_first_has_read_and_checked(
    tmp_path: Path,
    meanwhile: Callable[[Pairs], None],
    nodes: int,
    expected: list[int],
) -> None:
    path = write_faulty_pairs(tmp_path, good=8)
    alone = Pairs(str(path), on_error="skip", val_fraction=0.3, test_fraction=0).sources

    def work(rank: int) -> list[Any]:
        data, reads = trained(path, rank, meanwhile, nodes)
        equal = [same(data.sources[s], part) for s, part in alone.items()]  # type: ignore[arg-type]
        image = int(data.sources["train"][0].image.sum())
        return [list(data.sources), len(reads), equal, image]

    (tmp_path / "group").mkdir()
    found = on_two_processes(work, tmp_path / "group")
    assert [each[0] for each in found] == [["train", "val"]] * 2
    assert [each[1] for each in found] == expected
    assert [each[2] for each in found] == [[True, True]] * 2
    assert found[0][3] == found[1][3]
    # The list of unusable rows is written by who looked at them.
    assert [(tmp_path / f"rank-{r}" / "rejects.csv").exists() for r in (0, 1)] == [
        bool(n) for n in expected
    ]


def test_what_cannot_be_packed_is_read_by_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = write_pairs(tmp_path, n=8)
    strange = SimpleNamespace(no="form here")

    def read(*args: Any, **options: Any) -> Any:
        studies, splits = read_pairs(*args, **options)
        return replace(studies, facts=[{"strange": strange}] * len(studies)), splits

    monkeypatch.setattr("vlp_zoo.data.datamodules.read_pairs", read)
    assert pack(read(path)[0])[0].facts[0]["strange"] is strange

    def work(rank: int) -> int:
        data, reads = trained(path, rank, nothing)
        assert data.sources["train"][0].facts["strange"] == strange
        return len(reads)

    (tmp_path / "group").mkdir()
    assert on_two_processes(work, tmp_path / "group") == [1, 1]


# The cache ---------------------------------------------------------------------------


def place(path: Path) -> Address | None:
    return pack(read_pairs(path)[0])[1]


def test_processes_that_pack_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, n=8)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        first, *others = pool.map(place, [path] * 4)
    assert first is not None
    assert others == [first] * 3
    assert list(first.path.parent.iterdir()) == [first.path]
    assert same(open_packed(*first).studies(), read_pairs(path)[0])


def test_other_inputs_are_another_file(tmp_path: Path) -> None:
    path, _ = write_pairs(tmp_path, n=4)
    before = place(path)
    # No fingerprint of a data set sees study ids: they are not what a cache hangs on.
    studies = read_pairs(path)[0]
    others = replace(studies, study_ids=["other"] * len(studies))
    assert others.fingerprint == studies.fingerprint
    assert pack(others)[1] != before
    (tmp_path / "images" / "000.jpg").write_bytes(b"other")
    assert place(path) != before


def test_a_cache_that_cannot_be_written_costs_the_sharing_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (cache_folder()).mkdir(parents=True, exist_ok=True)
    (cache_folder() / "studies").write_text("a file is in the way")
    found, address = pack(ODD)
    assert address is None
    assert "other processes read it too" in caplog.text
    assert same(found, ODD)
    assert same(pickle.loads(pickle.dumps(found)), ODD)


def test_what_nobody_has_opened_for_a_month_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = [pack(ODD.subset([i], "one"))[1] for i in range(2)]
    old, used = map(packed_file, addresses)
    for path in (old, used):
        long_ago = time.time() - packed.UNUSED - 60
        os.utime(path, (long_ago, long_ago))
    assert addresses[1] is not None
    opened = open_packed(*addresses[1])
    assert isinstance(opened, Packed)
    pack(ODD)
    assert not old.exists()
    assert used.exists()
