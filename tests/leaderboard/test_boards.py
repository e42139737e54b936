from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboard.board_results import HOSTILE
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.evaluation.results import Cases, Result, ResultStore
from vlp_zoo.evaluation.segmentation.metrics import Overlap
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    hierarchical_interval,
    label_statistic,
    paired_interval,
)
from vlp_zoo.leaderboard.boards import Board, make_boards
from vlp_zoo.leaderboard.metric_order import higher_is_better
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.leaderboard.runs import read_runs
from vlp_zoo.leaderboard.text import board_title, caption


@pytest.fixture(scope="module")
def boards(folder: Path) -> list[Board]:
    return make_boards(read_runs([folder]), replicates=40)


def _copied(folder: Path, to: Path, change: Mapping[str, object], match: str) -> Path:
    """The results with some fields of some rows changed; predictions stay."""
    rows = ResultStore(folder).read()
    changed = [
        replace(row, **change) if row.encoder == match or match == "*" else row  # type: ignore[arg-type]
        for row in rows
    ]
    to.mkdir()
    (to / "predictions").symlink_to(folder / "predictions")
    lines = "".join(f"{row.to_json()}\n" for row in changed)
    (to / "results.jsonl").write_text(lines)
    return to


def test_who_waits_is_told_which_board_is_made(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    make_boards(
        read_runs([folder]), replicates=0, progress=lambda *said: told.append(said)
    )
    assert [(done, total) for _, done, total in told] == [(k, 4) for k in range(5)]
    # Two encoders and three baselines; two draws of a half of the labels.
    assert {name for name, *_ in told[:-1]} == {
        "blocks, vlp-knn: 10 runs, 1 pair",
        "blocks, vlp-knn: 5 runs, 1 pair",
        "blocks, vlp-linear: 10 runs, 1 pair",
        "blocks, vlp-linear: 5 runs, 1 pair",
    }


def test_a_board_holds_one_protocol_and_one_fraction(boards: list[Board]) -> None:
    what = [(board.shared.protocol, board.shared.fraction) for board in boards]
    assert what == [
        ("vlp-knn", 0.5),
        ("vlp-knn", 1.0),
        ("vlp-linear", 0.5),
        ("vlp-linear", 1.0),
    ]
    for board in boards:
        assert [entry.name for entry in board.encoders] == ["wide", HOSTILE]
        baselines = [entry.name for entry in board.baselines]
        assert baselines == ["pixels", "acquisition", "prevalence"]


def test_draws_are_averaged_with_the_hierarchical_interval(
    folder: Path, boards: list[Board]
) -> None:
    board = boards[2]
    entry = board.encoders[0]
    assert entry.seeds == (0, 1)
    cases = [run.cases() for run in entry.runs]
    statistics = [
        label_statistic("macro_auroc", c.labels, c.scores) for c in cases if c
    ]
    assert cases[0] is not None
    expected = hierarchical_interval(statistics, cases[0].patient_ids, replicates=40)
    score = entry.scores["macro_auroc"]
    assert score.value == pytest.approx(expected.value, abs=1e-12)
    assert (score.low, score.high) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )
    assert score.sd == pytest.approx(
        np.std([run.head.value or 0 for run in entry.runs], ddof=1)
    )
    assert (score.draws, score.covers) == (2, "draws and patients")


def test_one_draw_keeps_its_stored_interval(boards: list[Board]) -> None:
    for entry in boards[3].entries:
        (run,) = entry.runs
        for metric, row in run.rows.items():
            score = entry.scores[metric]
            assert (score.value, score.low, score.high) == (
                *(row.value, row.low, row.high),
            )
            assert score.sd is None


def test_differences_are_those_of_the_paired_interval(boards: list[Board]) -> None:
    board = boards[3]
    wide, narrow = board.encoders
    pixels = board.baselines[0]
    found = [entry.runs[0].cases() for entry in (wide, narrow, pixels)]
    assert all(found)
    one, two, baseline = (cases for cases in found if cases is not None)

    def statistic(cases: Cases) -> Statistic:
        return label_statistic("macro_auroc", cases.labels, cases.scores)

    expected = paired_interval(
        statistic(one), statistic(two), one.patient_ids, replicates=40
    )
    (pair,) = board.pairs
    assert (pair.first, pair.second) == ("wide", HOSTILE)
    assert pair.estimate.value == pytest.approx(expected.value)
    assert (pair.estimate.low, pair.estimate.high) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )
    assert pair.adjusted == pair.estimate.p_value
    assert pair.adjusted is not None
    assert 0 < pair.adjusted < 2 / 41
    assert board.unbeaten == {"wide"}
    gap = {gap.baseline: gap.estimate for gap in wide.gaps}["pixels"]
    expected = paired_interval(
        statistic(one), statistic(baseline), one.patient_ids, replicates=40
    )
    assert (gap.low, gap.high) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_every_kind_of_baseline_is_subtracted(
    folder: Path, boards: list[Board], tmp_path: Path
) -> None:
    for board in boards:
        assert board.kinds == ("pixels", "acquisition")
        for entry in board.encoders:
            assert [(gap.kind, gap.baseline) for gap in entry.gaps] == [
                ("pixels", "pixels"),
                ("acquisition", "acquisition"),
            ]
            for gap in entry.gaps:
                baseline = next(f for f in board.baselines if f.name == gap.baseline)
                shown = [e.scores["macro_auroc"].value or 0 for e in (entry, baseline)]
                assert gap.estimate.value == pytest.approx(shown[0] - shown[1])
        assert not any(baseline.gaps for baseline in board.baselines)
    # Results that name no such baseline are compared with it all the same.
    stored = ResultStore(folder).read()
    rows = [row for row in stored if row.baseline_name != "acquisition"]
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    (tmp_path / "results.jsonl").write_text("".join(f"{r.to_json()}\n" for r in rows))
    found = make_boards(read_runs([tmp_path]), replicates=40)
    assert [b.entries[0].gaps for b in found] == [b.entries[0].gaps for b in boards]


@pytest.mark.slow
def test_of_baselines_used_in_two_ways_the_one_used_alike_is_subtracted(
    folder: Path, tmp_path: Path
) -> None:
    store = ResultStore(tmp_path)
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    for row in ResultStore(folder).read():
        if row.role == "floor" or row.encoder == "wide":
            settings = row.settings | {"pooling": "mean"}
            key = f"{row.key}m"
            store.add([replace(row, key=key, settings=settings)])
    for board in make_boards(read_runs([folder, tmp_path]), replicates=0):
        assert len(board.baselines) == 6
        for entry in board.encoders:
            assert [gap.kind for gap in entry.gaps] == ["pixels", "acquisition"]
            poolings = {
                baseline.who[3]
                for baseline in board.baselines
                if baseline.name in {gap.baseline for gap in entry.gaps}
            }
            assert poolings == {entry.who[3]}


@pytest.mark.parametrize(
    "change",
    [
        {"split_sha256": "another"},
        {"data_sha256": "another"},
        {"task": "another"},
        {"n": 59},
    ],
    ids=str,
)
def test_what_differs_never_shares_a_board(
    folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    other = _copied(folder, tmp_path / "other", change, "wide")
    boards = make_boards(read_runs([other]), replicates=0)
    for board in boards:
        names = {entry.name for entry in board.entries}
        assert "wide" not in names or names == {"wide"}


def _with_a_label_lost_by_a_draw(folder: Path, to: Path) -> Path:
    """Draw 1 could not learn "finding 2"; what is stored for it counts the others."""
    rows = []
    for row in ResultStore(folder).read():
        if row.seed == 1 and row.baseline is None:
            lost = {"finding 2": "one class only in 3 training cases"}
            kept = [row.per_label.get(f"finding {k}") for k in (0, 1)]
            known = [value for value in kept if value is not None]
            value = float(np.mean(known)) if len(known) == 2 else None
            row = replace(row, undefined=lost, value=value)
        rows.append(row)
    to.mkdir()
    (to / "predictions").symlink_to(folder / "predictions")
    (to / "results.jsonl").write_text("".join(f"{r.to_json()}\n" for r in rows))
    return to


def test_draws_that_learnt_other_labels_count_what_all_learnt(
    folder: Path, boards: list[Board], tmp_path: Path
) -> None:
    changed = _with_a_label_lost_by_a_draw(folder, tmp_path / "lost")
    found = make_boards(read_runs([changed]), replicates=40)
    assert [b.shared.fraction for b in found] == [0.5, 1.0, 0.5, 1.0]
    board = found[2]
    assert board.left_out == {"finding 2": "draw 1: one class only in 3 training cases"}
    assert "left out: finding 2 (draw 1: one class" in " ".join(caption(board))
    assert "2 of 3 labels" in board_title(board)
    for entry in board.entries:
        assert entry.seeds == (0, 1)
        means = [
            sum(run.head.per_label[f"finding {k}"] or 0 for k in (0, 1)) / 2
            for run in entry.runs
        ]
        score = entry.scores["macro_auroc"]
        assert score.value == pytest.approx(np.mean(means))
        assert score.sd == pytest.approx(np.std(means, ddof=1))
        # A mean over three labels of one draw and two of the other would be no number.
        assert entry.scores["f1@val"].value is None
        assert "disagrees" not in entry.flags
    one, two = board.encoders
    values = [entry.scores["macro_auroc"].value or 0 for entry in (one, two)]
    (pair,) = board.pairs
    assert pair.estimate.value == pytest.approx(values[0] - values[1])
    # The other boards are what they were.
    assert found[3].entries[0].scores == boards[3].entries[0].scores


def test_without_predictions_such_draws_stay_apart(
    folder: Path, tmp_path: Path
) -> None:
    changed = _with_a_label_lost_by_a_draw(folder, tmp_path / "lost")
    (changed / "predictions").unlink()
    found = make_boards(read_runs([changed]), replicates=40)
    halves = [b for b in found if b.shared.fraction == 0.5]
    assert sorted((len(b.left_out), b.entries[0].seeds) for b in halves) == [
        (0, (0,)),
        (0, (0,)),
        (1, (1,)),
        (1, (1,)),
    ]


@pytest.mark.slow
def test_settings_that_define_the_metric_part_boards(
    folder: Path, tmp_path: Path
) -> None:
    rows = ResultStore(folder).read()
    settings = {row.encoder: row.settings for row in rows}["wide"]
    for name, value, parts in (
        ("min_positives", 10, True),
        ("k_grid", [7], True),
        ("replicates", 7, False),
        ("pooling", "mean", False),
    ):
        change = {"settings": settings | {name: value}, "protocol": "p"}
        other = _copied(folder, tmp_path / name, change, "wide")
        rest = {"settings": settings, "protocol": "p"}
        other = _copied(other, tmp_path / f"{name} rest", rest, HOSTILE)
        boards = make_boards(read_runs([other]), replicates=0)
        together = [
            {"wide", HOSTILE} <= {entry.name for entry in board.encoders}
            for board in boards
        ]
        assert any(together) != parts


def test_the_same_weights_used_otherwise_are_another_entry(
    folder: Path, tmp_path: Path
) -> None:
    rows = [row for row in ResultStore(folder).read() if row.encoder == "wide"]
    store = ResultStore(tmp_path)
    for row in rows:
        mean = row.settings | {"pooling": "mean"}
        store.add([replace(row, key=f"{row.key}m", settings=mean, predictions=None)])
    boards = make_boards(read_runs([folder, tmp_path]), replicates=0)
    names = {entry.name for board in boards for entry in board.encoders}
    assert len(names) == 3
    assert any("pooling mean" in name for name in names)
    shown = {e.name: e for e in boards[0].encoders}
    flagged = next(name for name in names if "pooling mean" in name)
    assert "no predictions" in shown[flagged].flags


def test_rows_that_are_not_current_are_flagged(folder: Path, tmp_path: Path) -> None:
    change: dict[str, object] = {
        "date": "2001-01-01T00:00:00+00:00",
        "commit": "0123456789ab",
        "versions": {"vlp_zoo": "0.0.1"},
        "schema": 0,
        "predictions": None,
    }
    other = _copied(folder, tmp_path / "other", change, "wide")
    board = make_boards(read_runs([other]), replicates=40)[3]
    wide = board.encoders[0]
    assert {"old schema", "other version", "other commit", "no predictions"} <= set(
        wide.flags
    )
    assert "0.0.1" in wide.flags["other version"]
    assert not board.pairs
    assert board.unbeaten == {"wide", HOSTILE}
    # The stored difference is all that is left.
    assert [gap.baseline for gap in wide.gaps] == ["pixels", "acquisition"]
    older = _copied(
        folder, tmp_path / "older", {"data_sha256": "x", "date": "2001"}, "wide"
    )
    for board in make_boards(read_runs([older]), replicates=0):
        for entry in board.entries:
            assert ("older data" in entry.flags) == (entry.name == "wide")


def test_predictions_that_contradict_their_number_are_flagged(
    folder: Path, tmp_path: Path
) -> None:
    other = _copied(folder, tmp_path / "other", {"value": 0.123}, "wide")
    board = make_boards(read_runs([other]), replicates=40)[3]
    flags = {entry.name: set(entry.flags) for entry in board.encoders}
    assert "disagrees" in flags["wide"]
    assert "disagrees" not in flags[HOSTILE]


def test_only_shared_draws_are_compared(folder: Path, tmp_path: Path) -> None:
    rows = [
        row
        for row in ResultStore(folder).read()
        if not (row.encoder == "wide" and row.seed == 0 and row.fraction < 1)
    ]
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    lines = "".join(f"{row.to_json()}\n" for row in rows)
    (tmp_path / "results.jsonl").write_text(lines)
    board = make_boards(read_runs([tmp_path]), replicates=40)[2]
    assert {e.name: e.seeds for e in board.encoders} == {"wide": (1,), HOSTILE: (0, 1)}
    assert board.pairs[0].estimate.draws == 1


def test_many_pairs_cost_no_more_replicates(folder: Path, tmp_path: Path) -> None:
    rows = [row for row in ResultStore(folder).read() if row.encoder == "wide"]
    store = ResultStore(tmp_path)
    (tmp_path / "predictions").symlink_to(folder / "predictions")
    for i in range(4):
        store.add(
            [
                replace(r, key=f"{r.key}{i}", encoder=f"e{i}", encoder_sha256=str(i))
                for r in rows
                if r.fraction == 1 and r.protocol == "vlp-knn"
            ]
        )
    (board,) = make_boards(read_runs([tmp_path]), replicates=40)
    assert len(board.pairs) == 6
    assert board.replicates == 40
    assert all(pair.adjusted == 1 for pair in board.pairs)


def test_an_empty_folder_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"results\.jsonl"):
        read_runs([tmp_path / "none"])
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(DatasetNotFoundError, match="without a single row"):
        read_runs([tmp_path])


def test_the_newest_of_equal_runs_counts(folder: Path, tmp_path: Path) -> None:
    change: dict[str, object] = {"date": "2999-01-01", "device": "new"}
    other = _copied(folder, tmp_path / "other", change, "*")
    for folders in ([folder, other], [other, folder]):
        runs = read_runs(folders)
        assert len(runs) == len(read_runs([folder]))
        assert {run.head.device for run in runs} == {"new"}


def test_names_of_metrics_say_which_way_is_better() -> None:
    assert not higher_is_better("macro_brier")
    assert not higher_is_better("macro_ece")
    assert higher_is_better("i2t_recall@10")


def test_rows_of_a_newer_schema_are_refused(folder: Path, tmp_path: Path) -> None:
    record = json.loads(ResultStore(folder).read()[0].to_json())
    (tmp_path / "results.jsonl").write_text(json.dumps(record | {"schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        read_runs([tmp_path])
    assert Result.from_json(json.dumps(record)).schema == 1


def test_statistics_of_what_a_case_stores() -> None:
    ranks = np.array([1.0, 4.0, 9.0, 12.0])
    dice = np.array([0.5, np.nan, 1.0, 0.0])
    empty = np.empty((4, 0))
    cases = Cases(
        *(list("abcd"), list("ppqr"), (), empty.astype(np.float32), empty),
        {
            "i2t_rank": ranks,
            "t2i_rank": ranks,
            # Ties count in their mean; older rows have the rank alone.
            "t2i_recall@10": np.array([1.0, 1.0, 0.5, 0.0]),
            "dice_positive": dice,
            "text": np.array(list("wxyz")),
        },
    )
    once = np.ones((4, 1), np.float32)
    for metric, expected in (
        ("i2t_recall@1", 0.25),
        ("i2t_recall@10", 0.75),
        ("t2i_recall@10", 0.625),
        ("dice_positive", 0.5),
    ):
        found = statistic_of(metric, cases, ())
        assert found is not None
        assert float(found(once).squeeze()) == pytest.approx(expected)
    for metric in ("i2t_median_rank", "a2b_recall@1", "text", "macro_auroc"):
        assert statistic_of(metric, cases, ()) is None


def test_masks_are_compared_by_their_pixel_counts() -> None:
    # One structure in two of three cases; found whole, and half.
    counts = Overlap(
        *(np.array([c]).T for c in ([4, 2, 1], [4, 4, 0], [4, 2, 0], [9] * 3))
    )
    columns = {
        f"{entry.name} lung": getattr(counts, entry.name)[:, 0]
        for entry in fields(Overlap)
    }
    labels = np.array([[1.0], [1.0], [0.0]], np.float32)
    cases = Cases(
        *(list("abc"), list("pqr"), ("lung",), labels), np.ones((3, 1)), columns
    )
    once = np.ones((3, 1), np.float32)
    for metric, expected in (("dice_positive", 5 / 6), ("dice_all", 5 / 9)):
        found = statistic_of(metric, cases, ())
        assert found is not None
        assert float(np.squeeze(found(once))) == pytest.approx(expected)
    assert statistic_of("dice_positive", cases, ("lung",)) is None
    assert statistic_of("pixel_auprc", cases, ()) is None
