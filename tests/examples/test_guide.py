"""Every example of the guide runs, by itself after the guide's setup, and shows what the page says."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
from pathlib import Path

import pytest
from clusters import Cluster
from distributed import Client

from daskqueue import testing

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
LONGEST = 12  # lines of one example
SETUP = "## Setup"


def examples():
    """Yield each block of Python as a parameter, named by its heading and its line."""
    heading, lines = "", GUIDE.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("## "):
            heading = line
        elif line == "```python" and heading != SETUP:
            code = "\n".join(lines[number : lines.index("```", number)])
            name = re.sub(r"\W+", "-", heading.strip("# ").lower())
            yield pytest.param("\n" * number + code, id=f"{name}:{number}")


EXAMPLES = list(examples())


class Shown(ast.NodeTransformer):
    """Makes of each expression with ``# -> text`` at its end a check that its repr is that text."""

    def __init__(self, source):
        self._lines = source.splitlines()

    def visit_Expr(self, node):
        expected = re.search(r"# -> (.*)$", self._lines[node.end_lineno - 1])
        if expected is None:
            return node
        check = ast.Name("shows", ast.Load())
        arguments = [node.value, ast.Constant(expected[1].strip()), ast.Constant(node.lineno)]
        return ast.copy_location(ast.Expr(ast.Call(check, arguments, [])), node)


def shows(value, expected, line):
    """Make sure that a value looks as the page says; ``...`` stands for anything."""
    pattern = ".*".join(map(re.escape, expected.split("...")))
    assert re.fullmatch(pattern, repr(value), re.DOTALL), (
        f"line {line} gives {value!r}, the page says {expected}"
    )


def run(source, names):
    """Run an example as a notebook would run a cell: ``await`` is allowed, and its functions travel by value."""
    tree = ast.fix_missing_locations(Shown(source).visit(ast.parse(source)))
    code = compile(tree, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names |= {"__name__": "__main__", "shows": shows}
    outcome = eval(code, names)
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)
    for name in [name for name in names if name.startswith("test_")]:
        with testing.pool() as pool:
            names[name](pool)


def setup_code():
    """Return the page's setup without its client: the test's has smaller workers."""
    (code,) = re.findall(rf"{SETUP}\n.*?```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "\nclient = Client()" in code
    return re.sub(r"\nclient = Client\(\).*", "", code)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """What the page's setup makes: a client, a durable pool, consumers that have started."""
    with Cluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        names = {"client": client}
        with contextlib.chdir(tmp_path_factory.mktemp("guide")):
            exec(setup_code(), names)
        del names["__builtins__"]
        yield names
        names["consumer_pool"].cancel()


@pytest.fixture
def names(setup, tmp_path, monkeypatch):
    """The names that an example begins with; what the one before left in the queues is dropped."""
    monkeypatch.chdir(tmp_path)
    yield dict(setup)
    setup["queue_pool"].resume()
    setup["queue_pool"].purge()
    setup["queue_pool"].drain(timeout=60)


@pytest.mark.parametrize("source", EXAMPLES)
def test_the_example_runs_and_shows_what_it_says(source, names):
    run(source, names)


def test_an_example_that_shows_something_else_is_found():
    with pytest.raises(AssertionError, match="line 2 gives 4, the page says 5"):
        run("x = 2\nx + x  # -> 5", {})
    run("x = 2\nx + x  # -> 4\nstr(x)  # -> '...'", {})


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_is_short(source):
    lines = [line for line in source.splitlines() if line]  # the formatter spreads them with empty ones
    assert len(lines) < LONGEST
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("number", range(1, 10))
def test_every_item_of_what_a_queue_user_expects_has_a_section_with_an_example(number):
    sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"{number}. ")]
    assert "```python" in section
