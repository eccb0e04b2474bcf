"""There is no field that nothing acts on: a change of each one is seen in what is made, or in the scaling."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Literal, get_args, get_origin

import pytest

from daskqueue_operator.autoscale import Inputs, Memory
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.declare import declared, is_declared
from daskqueue_operator.desired import desired
from daskqueue_operator.observe import Observed
from daskqueue_operator.reconcile import source_of
from daskqueue_operator.scaler import Scaler
from daskqueue_operator.site import Settings
from daskqueue_operator.spec import Spec

NOW = 1_000_000.0
# The specs that are changed in one field; each field must show in one of them at least.
BASES = (
    {},
    {"queue": {"fsync": "Interval"}},
    {"queue": {"maxMessages": 5}},
    {"shards": {"storage": {"emptyDir": {}}}},
    {"consumers": {"replicas": 2, "autoscaling": {"mode": "Fixed"}}},
)
# What a queue may look like when the number of consumers is decided.
LOADS = (
    Inputs(),
    Inputs(replicas=3),
    Inputs(ready=5000, replicas=3),
    Inputs(ready=2500, replicas=2),
    Inputs(ready=400, mean_seconds=0.3, replicas=3),
    Inputs(ready=10**6, replicas=5),
)
MEMORIES = (Memory(), Memory(desired=3, last_active_at=NOW - 100), Memory(desired=3, last_active_at=NOW - 30))
SAMPLES = {
    "size": "20Gi",
    "sizeLimit": "1Gi",
    "maxBytes": "1Gi",
    "middleware": [{"path": "invoices.tracing:Spans"}],
    "taskResources": [{"name": "db", "path": "invoices.db:connect"}],
    "resultBytes": "2Gi",
    "requests": {"cpu": "2"},
    "limits": {"memory": "3Gi"},
    "volumes": [{"name": "more", "emptyDir": {}}],
    "volumeMounts": [{"name": "more", "mountPath": "/more"}],
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "imagePullSecrets": [{"name": "more"}],
    "fsyncIntervalMilliseconds": 7,
    "podMonitor": "Disabled",
    "targetBacklogPerConsumer": 100,
    "targetWaitSeconds": 3,
    "idleSecondsBeforeZero": 600,
}


def leaves(kind, path=()):
    """Yield the path and the declaration of each field that holds no further ones."""
    for field in declared(kind):
        here = (*path, field.key)
        if is_declared(field.kind):
            yield from leaves(field.kind, here)
        else:
            yield here, field


LEAVES = dict(leaves(Spec))
MODE = ("consumers", "autoscaling", "mode")  # no other one is right without a change of replicas


def other(field):
    """Return another value than the default of a field."""
    kind = field.kind
    if field.key in SAMPLES:
        return SAMPLES[field.key]
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != field.default)
    if get_origin(kind) is tuple:
        return [{"name": "more", "value": "1"}]
    if kind is bool:
        return not field.default
    if kind is int:
        return 3 if field.default is None else field.default + 1
    return "more" if kind is str else {"more": "1"}


def changed(base, path, value):
    """Return a spec with another value at a path."""
    spec = copy.deepcopy(base)
    part = spec
    for key in path[:-1]:
        part = part.setdefault(key, {})
    part[path[-1]] = value
    return spec


def effects(spec):
    """Return what is made of a spec, and how it scales under all loads."""
    body = {"metadata": {"name": "invoices", "namespace": "billing", "uid": "u-1"}, "spec": spec}
    queue = DaskQueue.of(body)
    return desired(source(queue), absent=()), [decided(queue, load, m) for load in LOADS for m in MEMORIES]


def decided(queue, load, memory):
    scaler = Scaler(cluster=None, scraper=object())
    scaler._memory = memory
    return scaler._decide(queue, load, NOW).desired


def source(queue):
    settings = Settings(image="default", pull_policy="IfNotPresent", metrics_port=-1)
    return source_of(SimpleNamespace(settings=settings), queue, Observed())


@pytest.mark.parametrize("path", [path for path in LEAVES if path != MODE], ids=".".join)
def test_a_change_of_a_field_is_seen(path):
    value = other(LEAVES[path])
    bases = [base for base in BASES if can_be(changed(base, path, value))]
    assert bases, "no spec can be changed in this field"
    assert any(effects(base) != effects(changed(base, path, value)) for base in bases)


def test_the_mode_says_who_decides():
    given = {"consumers": {"replicas": 2, "autoscaling": {"mode": "Fixed"}}}
    _, fixed = effects(given)
    _, external = effects(changed(given, MODE, "External"))
    _, builtin = effects({})
    assert set(fixed) == set(external) == {2}
    assert set(builtin) > {0, 5}


def can_be(spec):
    try:
        effects(spec)
    except ValueError:
        return False
    return True
