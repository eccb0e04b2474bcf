"""Every path, link, test and command that a document names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from daskqueue.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (
        ROOT,
        ROOT / "docs",
        ROOT / "docs" / "decisions",
        ROOT / "changelog.d",
        ROOT / "benchmarks",
    )
    for path in folder.glob("*.md")
)
FOLDERS = "daskqueue|operator|helm|image|tests|docs|examples|benchmarks|scripts|changelog.d"


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_path_in_code_letters_exists(page):
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)(?:::\w+)?`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["guarantees", "reliability"])
def test_every_test_that_is_named_beside_a_promise_exists(name):
    text = (ROOT / "docs" / f"{name}.md").read_text()
    cited = re.findall(r"\]\(\.\./(tests/[\w/.]+)\)((?:,? *`test_\w+`)*)", text)
    assert len(cited) > 15
    missing = [
        f"{path}::{name}"
        for path, names in cited
        for name in re.findall(r"`(test_\w+)`", names)
        if name not in functions_of(ROOT / path)
    ]
    assert missing == []


def test_the_architecture_names_every_module_and_package_at_the_top():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    package = ROOT / "daskqueue"
    names = [f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()]
    names += [path.name for path in package.glob("*.py") if path.stem != "__init__"]
    assert [name for name in names if f"`daskqueue/{name}`" not in text] == []


def test_every_make_target_that_is_named_is_in_the_makefile(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_every_subcommand_is_in_a_document():
    text = "".join(path.read_text() for path in PAGES)
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    for group in app.registered_groups:
        own = [c.name or c.callback.__name__ for c in group.typer_instance.registered_commands]
        commands += [f"{group.name} {name}" for name in own]
    assert [command for command in commands if f"`daskqueue {command}" not in text] == []


def test_every_decision_is_in_the_list_of_decisions():
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def functions_of(path):
    """Return the names of the functions in a file, methods too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}
