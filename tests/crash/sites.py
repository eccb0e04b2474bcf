"""Where the product syncs, renames or links: found by machine, and each can be made to do nothing.

A site is a place in the source where such a verb is read off an object: a call (`fs.sync(handle)`) or a
reference that somebody calls later (`timed(log.sync)`). The functions around are compiled anew so that each
site asks here what to do; nothing of the product is changed on the disk.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

import daskqueue

PACKAGE = Path(daskqueue.__file__).parent
PARTS = ("storage", "engine", "inspecting", "actors/pool_folder.py")
# Words of ours that begin with `sync`, those of the system, and what gives names. `fsync` alone is a setting.
VERB = re.compile(r"_?sync(_\w+)?|fdatasync|rename|link|make_folder")
_DECIDES = "__decide_about_site__"


class Site(NamedTuple):
    """A place in the product: module, function, verb, and the how-many-eth of the verb it is in the function."""

    module: str
    function: str
    verb: str
    number: int

    @property
    def name(self):
        """The function's name alone."""
        return self.function.rpartition(".")[2]

    def __str__(self):
        number = f" {self.number}" if self.number else ""
        return f"{self.module.removeprefix('daskqueue.')}:{self.function}:{self.verb}{number}"


def sites():
    """Return all sites of the parts of the product that touch a disk, in the order of the files."""
    return [site for module in _modules(*PARTS) for site in _instrumented(module)[1]]


def files_beyond():
    """Return the product's other modules that sync or rename something by themselves; there should be none."""
    others = [name for name in _modules(".") if name not in _modules(*PARTS)]
    return {name for name in others if any(map(_touches_a_disk, ast.walk(_tree(name))))}


class Meeting:
    """What the sites do now.

    Attributes:
        removed: the site whose calls do nothing, None for none.
        met: how often each site was reached.
        moment: says when it is.
        moments: when the removed site was passed over.
    """

    def __init__(self, removed):
        self.removed = removed
        self.met = Counter()
        self.moment = lambda: 0
        self.moments = []

    def decide(self, site, verb):
        """Return what is called in the place of a verb that was read at a site."""
        self.met[site] += 1
        if site != self.removed:
            return verb
        self.moments.append(self.moment())
        return _do_nothing


@contextmanager
def watched(removed=None):
    """Count how often each site is reached; the calls of the site *removed* do nothing meanwhile."""
    meeting = Meeting(removed)
    undo = []
    try:
        for module_name in _modules(*PARTS):
            codes, found = _instrumented(module_name)
            module = importlib.import_module(module_name)
            vars(module)[_DECIDES] = lambda index, verb, found=found: meeting.decide(found[index], verb)
            for function in _functions(module):
                code = codes.get(function.__code__.co_qualname)
                if code is not None:
                    undo.append((function, function.__code__))
                    function.__code__ = code
        yield meeting
    finally:
        for function, code in undo:
            function.__code__ = code


def _do_nothing(*_args, **_named):
    return None


@cache
def _modules(*parts):
    """Return the names of the modules in the files and folders *parts* of the package, in order."""
    files = [
        file
        for part in parts
        for file in ([PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).rglob("*.py")))
    ]
    names = (".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def _source(module_name):
    path = PACKAGE.parent / module_name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tree(module_name):
    return ast.parse(_source(module_name).read_text())


def _is_verb(node):
    if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)):
        return False
    return VERB.fullmatch(node.attr) or ast.unparse(node) == "os.fsync"


def _touches_a_disk(node):
    words = ("os.fsync", "os.fdatasync", "os.rename", "os.replace", "os.link")
    return isinstance(node, ast.Attribute) and (node.attr == "sync_folder" or ast.unparse(node) in words)


@cache
def _instrumented(module_name):
    """Return the code of the module's functions that have sites, by qualified name, and the sites."""
    marking = _Marking(module_name)
    tree = ast.fix_missing_locations(marking.visit(_tree(module_name)))
    code = compile(tree, str(_source(module_name)), "exec", dont_inherit=True)
    names = {site.function for site in marking.sites}
    return {inner.co_qualname: inner for inner in _codes(code) if inner.co_qualname in names}, marking.sites


def _codes(code):
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class _Marking(ast.NodeTransformer):
    """Puts a question in the place of each verb that is read in a function."""

    def __init__(self, module_name):
        self.sites = []
        self._module = module_name
        self._scope = []
        self._function = None
        self._seen = Counter()

    def visit_ClassDef(self, node):
        return self._inside(node, node.name)

    def visit_FunctionDef(self, node):
        outermost = self._function is None
        if outermost:
            self._function = ".".join([*self._scope, node.name])
        node = self._inside(node, node.name)
        if outermost:
            self._function = None
        return node

    def visit_AsyncFunctionDef(self, node):
        return self.visit_FunctionDef(node)

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if not (self._function and _is_verb(node)):
            return node
        key = (self._function, node.attr)
        site = Site(self._module, *key, self._seen[key])
        self._seen[key] += 1
        self.sites.append(site)
        asked = ast.Call(ast.Name(_DECIDES, ast.Load()), [ast.Constant(len(self.sites) - 1), node], [])
        return ast.copy_location(asked, node)

    def _inside(self, node, name):
        self._scope.append(name)
        self.generic_visit(node)
        self._scope.pop()
        return node


def _functions(module):
    """Yield the functions and methods that a module defines."""
    seen = set()
    for thing in list(vars(module).values()):
        yield from _within(thing, module.__name__, seen)


def _within(thing, module_name, seen):
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, type):
        if thing.__module__ == module_name:
            for member in list(vars(thing).values()):
                yield from _within(member, module_name, seen)
    elif isinstance(thing, FunctionType):
        if thing.__module__ == module_name:
            yield thing
        yield from _within(getattr(thing, "__wrapped__", None), module_name, seen)
    elif isinstance(thing, staticmethod | classmethod):
        yield from _within(thing.__func__, module_name, seen)
    elif isinstance(thing, property):
        for accessor in (thing.fget, thing.fset):
            yield from _within(accessor, module_name, seen)
