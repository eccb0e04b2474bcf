"""Whether an object still is what was applied."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskqueue_operator.differences import difference, empty

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
MANIFESTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"cpu": "1000m"}, {"cpu": "1"}),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}),
        ({"cpu": 1}, {"cpu": "1"}),
        ({"value": ""}, {}),
        ({"readOnly": False}, {}),
        ({"annotations": {}}, {}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}),
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 2}, {"port": 1, "protocol": "TCP"}]}),
        ({"command": ["a", "b"]}, {"command": ["a", "b"]}),
    ],
)
def test_what_the_api_server_writes_in_its_own_way_is_the_same(wanted, there):
    assert difference(wanted, there) == ""


@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b is 2, not 1"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b is absent, not 1"),
        ({"a": {"b": 1}}, {}, "a is absent"),
        ({"cpu": "1000m"}, {"cpu": "2"}, "cpu is '2', not '1000m'"),
        (
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "value": "2"}]},
            "env[0].value is '2', not '1'",
        ),
        ({"env": [{"name": "A"}]}, {"env": [{"name": "B"}]}, "env[0] (A) is missing"),
        ({"command": ["a", "b"]}, {"command": ["b", "a"]}, "command is ['b', 'a'], not ['a', 'b']"),
        ({"on": True}, {"on": False}, "on is False, not True"),
        ({"on": True}, {"on": "1"}, "on is '1', not True"),
        ({"list": [{"a": 1}]}, {"list": "x"}, "list is 'x'"),
        ({"list": [{"a": 0}, {"a": "0"}]}, {"list": [{"a": 0}, {"a": 1}]}, "list[1].a is 1, not '0'"),
    ],
)
def test_a_difference_is_named(wanted, there, said):
    assert difference(wanted, there) == said


@given(MANIFESTS)
def test_nothing_differs_from_itself(manifest):
    assert difference(manifest, copy.deepcopy(manifest)) == ""


@given(MANIFESTS, st.data())
def test_a_value_that_was_changed_is_found_wherever_it_is(manifest, data):
    changed = copy.deepcopy({"root": manifest})
    paths = list(places(changed))
    if paths:
        holder, key = data.draw(st.sampled_from(paths))
        holder[key] = "something else"
        assert difference({"root": manifest}, changed)


def places(value):
    """Yield the holder and the key of each value that counts."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from places(inner)
        elif isinstance(value, dict) and not empty(inner) and inner != "something else":
            yield value, key
