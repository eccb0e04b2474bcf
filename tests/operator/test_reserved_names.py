"""What the operator sets in pods is what users are told to leave alone."""

from __future__ import annotations

import pytest

from daskqueue_operator import pod_spec
from daskqueue_operator.build.source import Source
from daskqueue_operator.dask_queue import DaskQueue
from daskqueue_operator.desired import desired, pod_template

BODY = {"metadata": {"name": "invoices", "namespace": "billing", "uid": "u-1"}}
STORAGES = {"volumes": {}, "folder": {"shards": {"storage": {"emptyDir": {}}}}}


@pytest.fixture(params=STORAGES.values(), ids=STORAGES)
def templates(request):
    """The pod templates of a DaskQueue, and the names of the claims that are volumes, too."""
    queue = DaskQueue.of({**BODY, "spec": request.param})
    source = Source(queue, image="an-image", pull_policy="IfNotPresent", shards=1, consumers=None)
    made = [manifest for manifest in desired(source, absent=()) if "template" in manifest.get("spec", {})]
    assert len(made) == 3
    return [pod_template(manifest) for manifest in made]


def containers(templates):
    """Return all containers."""
    return [container for template in templates for container in template["spec"]["containers"]]


def test_the_variables_of_daskqueue_are_reserved(templates):
    names = {entry["name"] for container in containers(templates) for entry in container["env"]}
    assert {name for name in names if name.startswith("DASKQUEUE_")} - set(pod_spec.OWN_VARIABLES) == set()


def test_the_volumes_and_folders_are_reserved(templates):
    mounts = [mount for container in containers(templates) for mount in container["volumeMounts"]]
    volumes = {volume["name"] for template in templates for volume in template["spec"]["volumes"]}
    assert {mount["mountPath"] for mount in mounts} == set(pod_spec.OWN_MOUNTS)
    assert {mount["name"] for mount in mounts} | volumes == set(pod_spec.OWN_VOLUMES)


def test_the_labels_and_annotations_are_reserved(templates):
    for template in templates:
        metadata = template["metadata"]
        assert [key for key in metadata["labels"] if not key.startswith(pod_spec.OWN_LABELS)] == []
        assert [key for key in metadata["annotations"] if not key.startswith(pod_spec.OWN_ANNOTATIONS)] == []
