"""The checklist that every method and file must meet."""

from __future__ import annotations

import re
from pathlib import Path

from vlp_zoo.methods import METHODS

ROOT = Path(__file__).parents[1]
CODE = sorted((ROOT / "vlp_zoo").rglob("*.py"))


def test_every_method_has_its_configs_test_and_readme_row() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in METHODS:
        assert (ROOT / "configs" / "demo" / f"{name}.yaml").is_file()
        assert (ROOT / "configs" / "methods" / f"{name}.yaml").is_file()
        assert list((ROOT / "tests" / "methods").rglob(f"test_{name}.py"))
        assert f"| `{name}` |" in readme
        (module,) = (ROOT / "vlp_zoo" / "methods").rglob(f"{name}.py")
        assert "Deviations" in module.read_text()


def test_modules_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in CODE
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert not long


def test_no_shortcuts_in_the_package() -> None:
    banned = re.compile(
        r"strict\s*=\s*False|weights_only\s*=\s*False|except:|np\.random\.seed"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in CODE
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if banned.search(line)
    ]
    assert not found


def test_docs_say_what_a_thing_is() -> None:
    """No doc leans on its name ("seed: Of ...") or on another ("seed: As above.")."""
    leaning = re.compile(r'^\s*(\*{0,2}\w+: (Of|As|See)|r?"""(Of|As))\b')
    assert leaning.match("        seed: Of the replicates.")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (
            *CODE,
            *ROOT.glob("benchmarks/**/*.py"),
            *ROOT.glob("tests/**/*.py"),
        )
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if leaning.match(line)
    ]
    assert not found


def test_no_file_has_a_vague_name() -> None:
    vague = {"utils", "helpers", "misc", "common", "constants"}
    assert not [path for path in CODE if path.stem in vague]


def test_the_readme_is_short_and_links_between_pages_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 200
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    ]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r'(?:\]\(|src=")([^)"#]+)', page.read_text())
        if "://" not in link
    ]
    assert len(links) > 20
    assert not [
        f"{page.relative_to(ROOT)}: {link}"
        for page, link in links
        if not (page.parent / link).exists()
    ]
