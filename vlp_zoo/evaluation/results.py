"""Results: one JSON line per number, its test cases in a Parquet file beside it.

The file only grows. Rows are written under a lock, checked and synced: all of them or,
on a full disk, none and an error. Parallel runs cannot mix lines; a crash leaves at most
one broken last line, which is ended and named. Equal keys mean equal inputs: a suite that was stopped goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.files import append
from vlp_zoo.reading import parse_json

__all__ = ["SCHEMA", "Cases", "Result", "ResultStore", "result_key"]

SCHEMA = 1
"""Version of the rows; older rows stay readable, newer ones are refused."""


@dataclass(frozen=True)
class Cases:
    """Predictions for every test case: what intervals and paired tests are made of.

    Attributes:
        uids: (N,).
        patient_ids: (N,).
        label_names: (K,).
        labels: (N, K) float32, NaN = unknown.
        scores: (N, K) probabilities; a column is NaN where nothing was predicted.
        columns: Anything else per case, (N,) each: ranks, overlaps, texts.
    """

    uids: list[str]
    patient_ids: list[str]
    label_names: tuple[str, ...]
    labels: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One number with everything needed to judge and to repeat it.

    Attributes:
        key: Hash of the inputs, see `result_key`; all metrics of a run share it.
        encoder: Name of the encoder on the command line, or of a baseline.
        encoder_sha256: SHA-256 of the weights.
        role: ``"encoder"`` or ``"floor"``.
        task: Name of the task.
        split_sha256: SHA-256 of the sorted list of uids and splits.
        data_sha256: SHA-256 of the studies and label values.
        protocol: Preset.
        settings: What the preset was run with.
        fraction: Share of training patients whose labels were used.
        seed: Seed of the label fraction and the bootstrap.
        metric: ``"macro_auroc"``, ...
        value: None where it is undefined.
        low: Lower bound of the 95 % interval over test patients; None without.
        high: Upper bound.
        baseline: For a difference, SHA-256 of the encoder that is subtracted.
        baseline_name: Name of the encoder that is subtracted.
        n: Cases of the split.
        n_patients: Patients of the split.
        n_train: Training cases used.
        per_label: Value per label; None where undefined.
        undefined: Labels left out of the mean, with the reason.
        details: What the protocol found: C, convergence, calibration, ...
        commit: Commit of the code.
        versions: Versions of the libraries.
        device: Where the encoder ran: ``"cpu"``, ``"cuda x 4"``, ... It decides nothing.
        seconds: Wall time of the run that made the row.
        date: UTC.
        source: ``"measured"``; reported numbers never enter this file.
        predictions: Parquet file, relative to the folder of the results.
        schema: Version of this row.
        split: Split of the value; only rows of ``"test"`` have predictions.
    """

    key: str
    encoder: str
    encoder_sha256: str
    role: str
    task: str
    split_sha256: str
    data_sha256: str
    protocol: str
    settings: dict[str, Any]
    fraction: float
    seed: int
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_patients: int
    n_train: int
    per_label: dict[str, float | None]
    undefined: dict[str, str]
    details: dict[str, Any]
    baseline: str | None = None
    baseline_name: str | None = None
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    seconds: float = 0.0
    date: str = ""
    source: str = "measured"
    predictions: str | None = None
    schema: int = SCHEMA
    split: str = "test"
    cases: Cases | None = field(default=None, repr=False, compare=False)

    @property
    def family(self) -> str:
        """SHA-256 of the weights; of a random init, that of its first draw."""
        drawn = self.details.get("random_weights") or {}
        return str(drawn.get("first", self.encoder_sha256))

    @property
    def weights_draw(self) -> int | None:
        """Which draw of weights, of a random init that may have several; else None."""
        drawn = self.details.get("random_weights") or {}
        return int(drawn["draw"]) if "draw" in drawn else None

    def to_json(self) -> str:
        """One line without its end; NaN and infinity become null."""
        record = {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.name != "cases"
        }
        return json.dumps(_plain(record), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The inverse of `to_json`.

        Raises:
            ConfigError: If the row is of a newer schema.
            ValueError: If the line is broken.
        """
        record: Any = parse_json(line)
        schema = record.get("schema", 0) if isinstance(record, dict) else None
        if not isinstance(schema, int):
            said = " ".join(repr(record).split())[:80]
            raise ValueError(f"no object with the fields of a row: {said}")  # noqa: TRY004
        if schema > SCHEMA:
            raise ConfigError(
                f"results of schema {SCHEMA} or older",
                f"schema {schema}",
                "update vlp-zoo, or choose another --out",
            )
        known = {entry.name for entry in fields(cls)} - {"cases"}
        for name, kinds in _KINDS.items():
            if name in record and not isinstance(record[name], kinds):
                raise ValueError(f"{name} is {record[name]!r}")
        try:
            return cls(**{name: record[name] for name in known if name in record})
        except TypeError as error:
            raise ValueError(f"fields are missing: {error}") from error


_NUMBER = (int, float, type(None))
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("key", "encoder", "role", "task", "protocol", "metric"), str),
    **dict.fromkeys(("encoder_sha256", "split_sha256", "data_sha256", "date"), str),
    **dict.fromkeys(("value", "low", "high"), _NUMBER),
    **dict.fromkeys(("settings", "per_label", "undefined", "details"), dict),
    **dict.fromkeys(("fraction", "seed", "n", "n_patients", "n_train"), (int, float)),
}
"""What readers of a row rely on; another program's file must not pass for results."""


def result_key(**inputs: Any) -> str:
    """Short SHA-256 of what decides a result, for finding it again."""
    text = json.dumps(_plain(inputs), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class ResultStore:
    """The results in one folder: ``results.jsonl`` and ``predictions/``.

    Args:
        folder: Made when the first result is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "results.jsonl"

    def read(self) -> list[Result]:
        """All rows in the order they were written.

        Raises:
            ConfigError: If rows are of a newer schema.
        """
        if not self.path.is_file():
            return []
        results, broken = [], 0
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                results.append(Result.from_json(line.decode("utf-8")))
            except ValueError as error:
                if isinstance(error, ConfigError):
                    raise
                warnings.warn(
                    f"{self.path}:{number} is broken and left out ({error})",
                    stacklevel=2,
                )
                broken += 1
        if broken:
            warnings.warn(
                f"{self.path}: {broken} broken lines left out, {len(results)} rows read",
                stacklevel=2,
            )
        return results

    def find(self, key: str) -> list[Result]:
        """Rows of a key, the newest of each metric and baseline."""
        rows = {(r.metric, r.baseline): r for r in self.read() if r.key == key}
        return list(rows.values())

    def add(self, results: Sequence[Result]) -> list[Result]:
        """Write rows, their cases first, and return them as stored.

        Cases of a run that is made again replace those of the earlier one.

        Raises:
            DatasetNotFoundError: If the folder cannot be written.
        """
        try:
            written: set[str] = set()
            stored = [self._with_cases(result, written) for result in results]
            self._append([result.to_json() for result in stored])
        except OSError as error:
            raise DatasetNotFoundError(
                f"a folder to write results to: {self.folder}",
                str(error),
                "choose another one with --out",
            ) from error
        return stored

    def cases(self, result: Result) -> Cases | None:
        """Test cases of a result; None if its file is missing or unreadable."""
        if result.cases is not None:
            return result.cases
        if result.predictions is None:
            return None
        import pandas as pd
        import pyarrow as pa

        path = self.folder / result.predictions
        try:
            table = pd.read_parquet(path)
        except (OSError, pa.ArrowException) as error:
            warnings.warn(f"no predictions in {path} ({error})", stacklevel=2)
            return None
        names = [
            column.removeprefix("label ")
            for column in map(str, table.columns)
            if column.startswith("label ")
        ]
        return Cases(
            [str(uid) for uid in table["uid"]],
            [str(patient) for patient in table["patient_id"]],
            tuple(names),
            table[[f"label {name}" for name in names]].to_numpy(np.float32),
            table[[f"score {name}" for name in names]].to_numpy(np.float64),
            {
                name.removeprefix("case "): table[name].to_numpy()
                for name in map(str, table.columns)
                if name.startswith("case ")
            },
        )

    def _with_cases(self, result: Result, written: set[str]) -> Result:
        cases = result.cases
        if cases is None:
            return result
        name = f"predictions/{result.key}.parquet"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of a difference the cases are there: those of its run.
        there = name in written or (result.predictions == name and path.is_file())
        if not there:
            _write_cases(path, cases)
            written.add(name)
        return replace(result, predictions=name)

    def _append(self, lines: Sequence[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in lines).encode()
        with self.path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    # A run died while writing: its half line must not swallow ours.
                    content = b"\n" + content
                    file.seek(0)
                    number = file.readall().count(b"\n") + 1
                    warnings.warn(
                        f"{self.path}:{number} was cut by a run that died; it is ended,"
                        " and what it held is measured again where it is asked for",
                        stacklevel=4,
                    )
            append(file, content)


def _write_cases(path: Path, cases: Cases) -> None:
    import pandas as pd

    columns: dict[str, Any] = {"uid": cases.uids, "patient_id": cases.patient_ids}
    for k, name in enumerate(cases.label_names):
        columns[f"label {name}"] = cases.labels[:, k]
        columns[f"score {name}"] = cases.scores[:, k]
    columns |= {f"case {name}": values for name, values in cases.columns.items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pd.DataFrame(columns).to_parquet(part, index=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Values as JSON has them: no NaN, no numpy, no tuples."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
