"""JSON of other people: values of the standard, or one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import parse_json, read_json


def test_marks_and_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text('["é"]', encoding=encoding)
        assert read_json(path) == ["é"]
    with pytest.raises(DatasetNotFoundError, match="a device"):
        read_json(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("[1e999]", "1e999"),
        ('["a\\u0000b"]', "NUL"),
        ("[1, 2", "JSONDecodeError"),
        ("", "JSONDecodeError"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json") as caught:
        read_json(path)
    assert said in caught.value.found


def test_who_judges_numbers_himself_gets_them() -> None:
    (value,) = parse_json("[NaN]", finite=False)
    assert value != value  # noqa: PLR0124  # what NaN is
