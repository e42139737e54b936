"""The pages of the site that are made from the code; `make docs` builds all and checks links."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from vlp_zoo.data import DATASETS
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.facts import FACTS
from vlp_zoo.parity import REPLAYS

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    pytest.importorskip("mkdocs")
    pytest.importorskip("docutils")
    spec = importlib.util.spec_from_file_location("pages", SITE / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_a_method_says_what_a_user_asks(
    pages: ModuleType, name: str
) -> None:
    page = pages.method_page(name)
    title, facts = METHODS[name].rpartition(".")[2], FACTS[name]
    assert page.startswith(f"# {title}\n")
    assert f"| reads | {facts.needs} |" in page
    assert f"| {facts.original} |" in page
    assert f"{facts.parameters:.0f} million" in page
    assert "Deviations" in page
    assert ("## What the recordings show" in page) == (name in REPLAYS)
    assert f"`demo/{name}`" in page
    assert f"{title}Options\n" in page.rpartition("::: ")[2]


def test_tables_of_data_sets_and_presets_leave_nothing_out(pages: ModuleType) -> None:
    table = pages.data_sets_table()
    assert [name for name in DATASETS if f"| [`{name}`](#{name}) |" not in table] == []
    presets = pages.presets_tables()
    files = sorted((ROOT / "configs" / "presets").glob("*.yaml"))
    assert [f.stem for f in files if f"| `{f.stem}`" not in presets] == []
    assert presets.count("\n| `") == len(files)


def test_equations_need_no_script_and_wrong_markup_is_an_error(
    pages: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "method.py"
    file.write_text('r"""Title.\n\n.. math:: L = \\frac{1}{2}\n\nThe `loss`.\n"""\n')
    shown = pages.from_docstring(file)
    assert "<math" in shown
    assert "Title" not in shown
    file.write_text('"""Title.\n\n====  ====\na     b\n====\n"""\n')
    with pytest.raises(Exception, match="table"):
        pages.from_docstring(file)


def test_what_the_comparison_names_of_ours_is_there() -> None:
    rows = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").splitlines()
    cells = [
        row.split("|")[2] for row in rows if row.startswith("|") and "||" not in row
    ]
    named = {n for cell in cells for n in re.findall(r"`([\w./]+)`", cell) if "/" in n}
    ours = {
        name for name in named if name.split("/")[0] in {"vlp_zoo", "docs", "configs"}
    }
    assert len(ours) > 20
    assert not [name for name in ours if not (ROOT / name).exists()]


def test_the_site_asks_nothing_of_a_network() -> None:
    for file in (SITE / "mkdocs.yml", SITE / "site.css"):
        assert "://" not in file.read_text(encoding="utf-8")
    assert "font: false" in (SITE / "mkdocs.yml").read_text(encoding="utf-8")
