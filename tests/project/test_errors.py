"""The errors of daskqueue: drawn as a tree, carried between processes, and each says whether a retry helps."""

from __future__ import annotations

import inspect
import pickle
import re

import cloudpickle
import pytest

from daskqueue import errors
from daskqueue.errors import DaskQueueError

CLASSES = sorted(
    (cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, DaskQueueError)),
    key=lambda cls: cls.__name__,
)
BRANCH = re.compile(r"^(?P<indent>[│ ]*)(├──|└──) (?P<name>\w+)")


def drawn():
    """Return the parent of each error in the tree that the module's docstring draws."""
    parents, path = {}, ["DaskQueueError"]
    for line in errors.__doc__.splitlines():
        if match := BRANCH.match(line):
            depth = len(match["indent"]) // 4 + 1
            path[depth:] = [match["name"]]
            parents[match["name"]] = path[depth - 1]
    return parents


def test_the_tree_in_the_docstring_has_every_class_under_its_parent():
    assert drawn() == {
        cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES if cls is not DaskQueueError
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_says_whether_a_retry_helps_and_what_it_is(cls):
    assert isinstance(cls.retryable, bool)
    assert cls.__doc__
    assert "retryable" not in vars(cls) or vars(cls)["retryable"] is True or cls is DaskQueueError


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("pickled", [pickle, cloudpickle], ids=lambda module: module.__name__)
def test_every_error_is_the_same_in_another_process(cls, pickled):
    error = cls("what is wrong")
    attributes = {name: {"host": "there"} for name in {*cls.__annotations__, *vars(error)}}
    vars(error).update(attributes)
    copy = pickle.loads(pickled.dumps(error))
    assert type(copy) is cls
    assert copy.args == error.args
    assert str(copy) == str(error)
    assert vars(copy) == vars(error) == attributes
    assert copy.retryable == error.retryable
