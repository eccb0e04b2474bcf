"""A DaskQueue is read into its types, or refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from manifests import ACCEPTED, EVERYTHING, OUT_OF_BOUNDS, REFUSED

from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.declare import said
from daskqueue_operator.errors import SpecError
from daskqueue_operator.openapi import schema_of
from daskqueue_operator.quantities import amount, is_quantity
from daskqueue_operator.spec import Spec
from daskqueue_operator.status_schema import unknown
from daskqueue_operator.storage_spec import PersistentVolumeClaim

EXAMPLES = Path(__file__).parents[2] / "examples" / "kubernetes"
TOLD_BY_US = {name: case for name, case in REFUSED.items() if case.told_by != "the API server"}


def body(spec=None, name="invoices", **metadata):
    """Return an object as the API server has it."""
    whose = {"name": name, "namespace": "billing", "uid": "u-1", "generation": 3, **metadata}
    return {"metadata": whose, **({} if spec is None else {"spec": spec})}


def test_four_lines_mean_the_defaults():
    queue = DaskQueue.of(body())
    assert queue.spec == Spec()
    assert (queue.name, queue.namespace, queue.uid, queue.generation) == ("invoices", "billing", "u-1", 3)
    assert queue.status == {}
    assert not queue.deleting


def test_a_queue_with_a_deletion_time_is_being_deleted():
    assert DaskQueue.of(body(deletionTimestamp="2026-01-01T00:00:00Z")).deleting


def test_everything_that_is_said_is_read():
    spec = DaskQueue.of(body(EVERYTHING)).spec
    assert said(spec) == EVERYTHING


def test_a_part_that_is_said_leaves_the_defaults_of_the_rest():
    spec = DaskQueue.of(body({"shards": {"storage": {"persistentVolumeClaim": {"size": "1Gi"}}}})).spec
    claim = PersistentVolumeClaim(size="1Gi")
    storage = replace(Spec().shards.storage, persistent_volume_claim=claim)
    assert spec == replace(Spec(), shards=replace(Spec().shards, storage=storage))


def test_null_means_that_nothing_is_said():
    assert DaskQueue.of(body({"image": None, "queue": {"fsync": None}, "shards": None})).spec == Spec()


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_right_is_read(spec):
    DaskQueue.of(body(spec))


@pytest.mark.parametrize("case", TOLD_BY_US.values(), ids=TOLD_BY_US)
def test_what_breaks_a_rule_is_refused_with_its_sentence(case):
    with pytest.raises(SpecError) as caught:
        DaskQueue.of(body(case.spec, name=case.name))
    assert case.because in str(caught.value)


@pytest.mark.parametrize(("spec", "where"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_what_is_out_of_bounds_is_refused_with_its_place(spec, where):
    with pytest.raises(SpecError) as caught:
        DaskQueue.of(body(spec))
    assert caught.value.path == f"spec.{where}"


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        (3, 3),
        ("3", 3),
        ("1.5", Decimal("1.5")),
        (".5", Decimal("0.5")),
        ("500m", Decimal("0.5")),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", 3 * 2**29),
        ("2e3", 2000),
        ("2E-1", Decimal("0.2")),
        ("2E", 2 * 10**18),
        ("-1", -1),
    ],
)
def test_a_quantity_stands_for_a_number(quantity, number):
    assert amount(quantity) == number


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1GB", "1gi", "0x10", "1.2.3", "1e", "inf", "one"])
def test_what_is_no_quantity_is_refused(text):
    assert not is_quantity(text)
    with pytest.raises(ValueError, match="no quantity; write one such as"):
        amount(text)


@given(st.integers(1, 10**6), st.sampled_from(["m", "", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti"]))
def test_a_quantity_grows_with_its_number(number, suffix):
    assert amount(f"{number}{suffix}") < amount(f"{number + 1}{suffix}")


def test_the_examples_are_right():
    pages = [page for path in EXAMPLES.glob("*.yaml") for page in yaml.safe_load_all(path.read_text())]
    queues = [page for page in pages if page["kind"] == "DaskQueue"]
    assert len(queues) >= 2
    for queue in queues:
        DaskQueue.of(body(queue.get("spec"), name=queue["metadata"]["name"]))
        assert list(unknown(queue.get("spec", {}), schema_of(Spec), "spec")) == []
