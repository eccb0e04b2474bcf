"""Rules about the code that no linter has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import daskqueue

PACKAGE = Path(daskqueue.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
DISK = PACKAGE / "storage" / "fs.py"
# Methods of pathlib.Path that touch the disk and are no methods of our own FileSystem.
TOUCHES = {
    "read_bytes",
    "read_text",
    "write_bytes",
    "write_text",
    "unlink",
    "touch",
    "mkdir",
    "rmdir",
    "iterdir",
    "glob",
}


def test_only_one_module_touches_the_disk():
    allowed = {
        DISK,
        PACKAGE / "cli" / "demo.py",
        PACKAGE / "cli" / "proof.py",
        PACKAGE / "cli" / "serve.py",  # the file of settings
        PACKAGE / "actors" / "processes" / "child.py",  # tells the kernel whom to kill first
        PACKAGE / "connecting.py",  # the file that names a pod's namespace
    }
    found = {path for path in MODULES for call in calls_of(path) if touches_the_disk(call)}
    assert found - allowed == set()
    assert DISK in found


def test_what_is_exported_is_there_sorted_and_documented():
    assert daskqueue.__all__ == sorted(daskqueue.__all__)
    assert [name for name in daskqueue.__all__ if not getattr(daskqueue, name).__doc__] == []


def test_no_module_has_a_name_that_says_nothing():
    forbidden = re.compile(r"utils?|helpers?|common|managers?|base|misc")
    assert [path.name for path in MODULES if forbidden.fullmatch(path.stem)] == []


def test_only_a_host_process_sets_up_logging():
    modules = [path for path in MODULES if path != PACKAGE / "serve" / "process.py"]
    calls = [ast.unparse(call.func) for path in modules for call in calls_of(path)]
    assert [call for call in calls if call.endswith(("basicConfig", "getLogger().setLevel"))] == []


def calls_of(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def touches_the_disk(call):
    match call.func:
        case ast.Name(id="open"):
            return True
        case ast.Attribute(attr=name):
            return name in TOUCHES
    return False
