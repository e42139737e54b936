"""What the site shows beside the Markdown files: pages made from the code itself.

MkDocs calls `on_files` and `on_page_markdown`. Every page keeps the path that it has in
the repository. A method's page is its docstring, its facts and its recordings; the tables
of data sets and presets come from cards and YAML files. Nothing heavy is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from docutils.core import publish_parts
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from vlp_zoo.data import DATASETS
from vlp_zoo.data.catalogue import card_of
from vlp_zoo.data.records import Card
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.facts import FACTS
from vlp_zoo.parity import REPLAYS
from vlp_zoo.reading.yamls import read_yaml

ROOT = Path(__file__).resolve().parents[2]

SOURCES = (
    "*.md",
    "docs/*.*",
    "docs/api/*",
    "docs/zoo/*",
    "docs/notebooks/*.ipynb",
    "docs/site/site.css",
    "benchmarks/**/*.md",
)
"""What of the repository is on the site."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of methods, which no file names, under "Zoo"."""
    assert config.nav is not None
    (zoo,) = (section["Zoo"] for section in config.nav if "Zoo" in section)
    zoo[1:1] = [{_title(name): f"docs/zoo/{name}.md"} for name in METHODS]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put every page where it stands in the repository, and add those of methods."""
    for file in [f for f in files if f.src_dir == config.docs_dir]:
        files.remove(file)
    paths = sorted({path for glob in SOURCES for path in ROOT.glob(glob)})
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for name in METHODS:
        page = f"docs/zoo/{name}.md"
        files.append(File.generated(config, page, content=method_page(name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables that a page asks for by a comment."""
    return re.sub(r"<!-- table: ([\w ]+) -->", lambda m: TABLES[m[1]](), markdown)


def method_page(name: str) -> str:
    """One method: facts, the head of its file, recordings, options."""
    title, source = _title(name), _source(name)
    facts = FACTS[name]
    rows = {
        "reads": facts.needs,
        "images": facts.images,
        "joint space of images and texts": "yes" if facts.joint_space else "no",
        "paper": readme_row(name)[3],
        "licence of the authors' code": facts.original,
        "parameters at paper scale": f"{facts.parameters:.0f} million",
        "cost of an image there, forward and backward": f"{facts.cost:.0f} GFLOP",
        "recordings of the authors' code": _recordings(name),
        "configs": ", ".join(f"`{path}`" for path in _configs(name)),
        "ablations of the paper": f"`vlpzoo sweep {name}_ablation`"
        if (ROOT / "configs" / "sweeps" / f"{name}_ablation.yaml").is_file()
        else "none",
    }
    options = _options_class(source)
    return "\n\n".join(
        part
        for part in (
            f"# {title}",
            readme_row(name)[1],
            f"```bash\nvlpzoo fit --model {name}\n```",
            _table(("", ""), rows.items()),
            f"Counted by `vlpzoo plan --config methods/{name} --studies 300000`.",
            "## The method, and where it deviates",
            from_docstring(source),
            _picture(name),
            "## What the recordings show" if name in REPLAYS else "",
            _golden(name),
            f"## Options of its own\n\n`vlpzoo fit --model.help {name}` lists all.",
            f"::: {options}\n    options:\n      heading_level: 3\n      members: false",
        )
        if part
    )


def readme_row(name: str) -> list[str]:
    """Cells of a method's row in the README: name, what it is, reads, paper, scales."""
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"| `{name}` |"):
            return [cell.strip() for cell in line.strip("|").split("|")]
    raise LookupError(f"no row `{name}` in the README's table")


def from_docstring(path: Path, *, skip_title: bool = True) -> str:
    """The head of a Python file, reStructuredText, as HTML."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    if skip_title:
        text = text.partition("\n")[2]
    fragment = publish_parts(
        ".. default-role:: code\n\n" + text,
        writer="html5",
        settings_overrides={
            "math_output": "MathML",
            "report_level": 2,
            "halt_level": 2,
            "raw_enabled": False,
            "file_insertion_enabled": False,
        },
    )["fragment"]
    return f'<div class="rst">\n{fragment}\n</div>'


def methods_table() -> str:
    """All methods, a row each."""
    rows = [
        (
            f"[{_title(name)}](zoo/{name}.md)",
            facts.needs,
            "yes" if facts.joint_space else "no",
            facts.images,
            f"{facts.parameters:.0f}",
            f"{facts.cost:.0f}",
            facts.original,
            "yes" if name in REPLAYS else "no",
        )
        for name, facts in FACTS.items()
    ]
    head = "method|reads|joint space|images|M parameters|GFLOP an image"
    return _table((*head.split("|"), "licence of the original", "recordings"), rows)


def data_sets_table() -> str:
    """All data sets that are read in their official layout, a row each."""
    rows = []
    for name in DATASETS:
        card = card_of(name)
        rows.append(
            (
                f"[`{name}`](#{name})",
                card.title,
                card.domain,
                ", ".join(card.gives),
                card.patients,
                ", ".join([*card.splits, "canonical"]),
                card.access,
                card.licence,
            )
        )
    head = "name|data set|images|gives|patient ids|splits|access|licence"
    return _wide(_table(head.split("|"), rows))


def data_sets() -> str:
    """A section for each data set: layout, labels, splits, as its reader says them."""
    return "\n\n".join(_data_set(name, card_of(name)) for name in DATASETS)


def _data_set(name: str, card: Card) -> str:
    path = ROOT.joinpath(*DATASETS[name].split(".")).with_suffix(".py")
    splits = [
        (
            f"`{split}`",
            rule.level,
            rule.source,
            ", ".join(f"{part} {count:,}" for part, count in rule.counts.items()),
            "; ".join(rule.issues),
        )
        for split, rule in card.splits.items()
    ]
    head = ("split", "keeps together", "source", "images of the release", "issues")
    shared = ", ".join(
        f"[`{other}`](#{other})" if other in DATASETS else f"`{other}`"
        for other in card.overlaps
    )
    return "\n\n".join(
        (
            f"## {card.title} {{ #{name} }}",
            f"`--data {name}`, `--task {name}:DIR`."
            + (f" Shares images with {shared}." if shared else ""),
            from_docstring(path, skip_title=False),
            _table(head, splits) if splits else "",
        )
    )


def presets_tables() -> str:
    """All presets, a table for each protocol."""
    known: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted((ROOT / "configs" / "presets").glob("*.yaml")):
        preset = read_yaml(path)
        reference = preset.get("reference", {})
        row = (
            f"`{path.stem}`" + (", `@fixed`" if "fixed" in preset else ""),
            preset["summary"],
            preset.get("verified", "ours"),
            "; ".join(str(part) for part in reference.values()),
            "<br>".join(preset.get("known_issues", [preset.get("refuse", "")])),
        )
        # One that is refused by name says why in place of a protocol.
        known.setdefault(preset.get("protocol", "refused"), []).append(row)
    head = ("preset", "what it does", "known from", "stands for", "known issues")
    return "\n\n".join(
        f"## `{protocol}`\n\n{_wide(_table(head, rows))}"
        for protocol, rows in sorted(known.items())
    )


def suites_table() -> str:
    """All suites, with their tasks."""
    rows = []
    for path in sorted((ROOT / "configs" / "suites").glob("*.yaml")):
        suite = read_yaml(path)
        tasks = ", ".join(f"`{task['name']}`" for task in suite["tasks"])
        rows.append((f"`{path.stem}`", suite["summary"], tasks))
    return _table(("suite", "what it is", "tasks"), rows)


TABLES = {
    "methods": methods_table,
    "data sets": data_sets_table,
    "data set sections": data_sets,
    "presets": presets_tables,
    "suites": suites_table,
}
"""What stands in a page's comment to what takes its place."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars inside of cells are kept as such."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "&#124;") for c in line) + " |"
        for line in lines
    )


def _wide(table: str) -> str:
    """A table of sentences, whose columns stay broad enough to be read."""
    return f'<div class="wide" markdown>\n\n{table}\n\n</div>'


def _title(name: str) -> str:
    """What a method is called: its class."""
    return METHODS[name].rpartition(".")[2]


def _source(name: str) -> Path:
    """The main file of a method: the module, or that of its own name in the folder."""
    spec = importlib.util.find_spec(METHODS[name].rpartition(".")[0])
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    return path.with_name(f"{name}.py") if path.name == "__init__.py" else path


def _options_class(source: Path) -> str:
    """Dotted path of the dataclass that has the options of a method."""
    wanted = f"{source.stem}options"
    for path in (source.with_name("options.py"), source):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
                parts = path.relative_to(ROOT).with_suffix("").parts
                return ".".join([*parts, node.name])
    raise LookupError(f"no class of options beside {source}")


def _configs(name: str) -> list[str]:
    """Packaged configs that train a method."""
    folders = ("demo", "methods", "matched/laptop", "matched/paper")
    return [
        f"{folder}/{name}"
        for folder in folders
        if (ROOT / "configs" / folder / f"{name}.yaml").is_file()
    ]


def _picture(name: str) -> str:
    """What the method showed of itself while it was trained, where that was kept."""
    if not (ROOT / "docs" / "zoo" / f"{name}.png").is_file():
        return ""
    return (
        f"## What it shows of itself\n\n![Pictures of a validation batch]({name}.png)\n\n"
        "From the TensorBoard log of "
        f"`vlpzoo fit --config matched/laptop/{name} --seed_everything 0 --evaluate []`, "
        "synthetic chests, last epoch."
    )


def _recordings(name: str) -> str:
    return f"replayed by `vlpzoo parity {name}`" if name in REPLAYS else "none"


def _golden(name: str) -> str:
    """What the small recordings of a checkout show, from the file beside them."""
    path = ROOT / "tests" / "golden" / name / "README.md"
    if name not in REPLAYS or not path.is_file():
        return ""
    return path.read_text(encoding="utf-8").partition("\n")[2].strip()
