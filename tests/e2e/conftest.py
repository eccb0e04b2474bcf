"""What all tests on a cluster share: the chart, namespaces, queues, Jobs, and dumps of failures."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from .dumping import dump
from .installing import RESTRICTED, OneAtATime, Release
from .jobs import Runner
from .kubectl import Kube
from .queues import Queues
from .times import Times

HERE = Path(__file__).parent
# What needs little of the operator first; what judges all that the others did last.
ORDER = [
    "test_crd",
    "test_reconcile",
    "test_autoscaling",
    "test_dead_letters",
    "test_kubernetes_page",
    "test_dashboard",
    "test_story",
    "test_rbac",
]
TIMES = pytest.StashKey[Times]()
ARTIFACTS = pytest.StashKey[Path]()
SPACES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items):
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))
    rank = {name: at for at, name in enumerate(ORDER)}
    rank["test_rbac"] = len(ORDER)
    ours.sort(key=lambda item: rank.get(item.path.stem, len(ORDER) - 2))
    items[:] = [item for item in items if item not in ours] + ours


@pytest.fixture(scope="session")
def times(request):
    """The table of times that the run ends with."""
    return request.config.stash.setdefault(TIMES, Times())


@pytest.fixture(scope="session")
def artifacts(request):
    """The folder for what a run leaves to look at."""
    folder = Path(os.environ.get("E2E_ARTIFACTS") or tempfile.mkdtemp(prefix="daskqueue-e2e-"))
    folder.mkdir(parents=True, exist_ok=True)
    request.config.stash[ARTIFACTS] = folder
    return folder


@pytest.fixture(scope="session")
def kube(request, artifacts):
    """The cluster that KUBECONFIG names; the tests stop at once where there is none."""
    for program in ("kubectl", "helm"):
        if not shutil.which(program):
            pytest.exit(f"tests/e2e needs {program} on the PATH", returncode=2)
    if not os.environ.get("KUBECONFIG"):
        pytest.exit("tests/e2e needs KUBECONFIG: the file that names the cluster to test on", returncode=2)
    found = Kube()
    done = found.run("get", "--raw", "/readyz", timeout=15)
    if done.returncode:
        pytest.exit(f"the cluster that KUBECONFIG names does not answer: {done.stderr.strip()}", returncode=2)
    request.config.stash[SPACES] = []
    return found


@pytest.fixture(scope="session")
def image():
    """The image under test."""
    return os.environ.get("E2E_IMAGE", "localhost/daskqueue:e2e")


@pytest.fixture(scope="session")
def image_2():
    """The same under a second name, for updates."""
    return os.environ.get("E2E_IMAGE_2", "localhost/daskqueue:e2e-2")


@pytest.fixture(scope="session")
def release(kube, image, times, request):
    """The chart, installed; everything that needs the operator asks for it."""
    found = Release(
        kube, os.environ.get("E2E_RELEASE", "daskqueue"), os.environ.get("E2E_SYSTEM", "daskqueue-system")
    )
    request.config.stash[SPACES].append(found.namespace)
    if os.environ.get("E2E_INSTALLED"):
        yield found
        return
    with closing(OneAtATime()) as lock:
        if holder := lock.take():
            pytest.exit(f"process {holder} runs tests on this cluster already ({lock.path})", returncode=2)
        with times.measure("helm install --wait"):
            found.install(image, os.environ.get("E2E_VALUES", "").split())
        yield found
        found.uninstall()


@contextmanager
def new_namespace(kube, request):
    """Make a namespace that takes restricted pods only; it goes with the block."""
    name = os.environ.get("E2E_NAMESPACE")
    if name:
        yield name
        return
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    request.config.stash[SPACES].append(name)
    yield name
    request.config.stash[SPACES].remove(name)
    kube("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(kube, request):
    """A namespace of the test's own."""
    with new_namespace(kube, request) as name:
        yield name


@pytest.fixture
def queues(kube, release, namespace):
    """The DaskQueues of the test's namespace."""
    return Queues(kube, namespace)


@pytest.fixture
def runner(kube, namespace, image):
    """Starts Jobs with Python scripts in the test's namespace."""
    return Runner(kube, namespace, image)


@pytest.fixture
def run_python(runner):
    """Run a Python script in a Job to its end: `run_python(code, *args, name="client", queue=None, timeout=60)`."""

    def run(code, *args, name="client", queue=None, timeout=60, **options):
        return runner.run(name, code, *args, connection=queue, timeout=timeout, **options)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    stash = item.config.stash
    if report.failed and item.path.is_relative_to(HERE) and stash.get(SPACES, None):
        folder = stash[ARTIFACTS] / item.name
        dump(Kube(), stash[SPACES], folder)
        report.sections.append(("the cluster", f"objects, events and logs are in {folder}"))
    return report


def pytest_terminal_summary(terminalreporter, config):
    times = config.stash.get(TIMES, None)
    if times is None or not times.rows:
        return
    path = config.stash[ARTIFACTS] / "e2e-times.md"
    path.write_text(times.table() + "\n")
    terminalreporter.section("times")
    terminalreporter.write_line(times.table())
    terminalreporter.write_line(f"written to {path}")
