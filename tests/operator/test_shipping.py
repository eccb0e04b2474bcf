"""What the image starts, and what the scripts say where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OPERATOR = "kopf run -m daskqueue_operator.handlers --standalone"
DASK_KUBERNETES = "kopf run -m dask_kubernetes.operator.controller"


@pytest.fixture
def programs(tmp_path):
    """A folder for the PATH: programs that print how they were called, and bash with what it needs."""
    for name in ("kopf", "daskqueue", "dask", "python"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    for name in ("bash", "dirname", "env"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


def call(programs, *command):
    """Run a command that finds nothing but those programs."""
    environment = {**os.environ, "PATH": str(programs)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        (["serve", "queue", "--shard", "1"], "daskqueue serve queue --shard 1"),
        (["daskqueue", "serve", "consumer"], "daskqueue serve consumer"),
        (["operator", "--all-namespaces"], f"{OPERATOR} --all-namespaces"),
        (["dask", "scheduler", "--port", "8786"], "dask scheduler --port 8786"),
        (["python", "-c", "a b"], "python -c a b"),
        (
            ["--liveness=http://0.0.0.0:8080/healthz", "--all-namespaces"],
            f"{DASK_KUBERNETES} --liveness=http://0.0.0.0:8080/healthz --all-namespaces",
        ),
    ],
)
def test_the_entry_point_starts_what_the_arguments_mean(programs, arguments, started):
    done = call(programs, str(ROOT / "image" / "entrypoint"), *arguments)
    assert (done.stdout.strip(), done.stderr) == (started, "")


def test_kind_up_names_all_programs_that_are_missing_and_where_to_get_them(programs):
    done = call(programs, str(ROOT / "scripts" / "kind-up"))
    assert done.returncode == 1
    for name in ("docker", "kind", "kubectl", "helm"):
        assert f"  {name}: https://" in done.stderr
    assert done.stdout == ""


def test_kind_up_says_so_when_docker_does_not_answer(programs):
    for name in ("kind", "kubectl", "helm"):
        (programs / name).symlink_to(programs / "dask")
    (programs / "docker").write_text("#!/bin/sh\nexit 1\n")
    (programs / "docker").chmod(0o755)
    done = call(programs, str(ROOT / "scripts" / "kind-up"))
    assert done.returncode == 1
    assert "daemon does not answer" in done.stderr


def test_building_an_image_without_a_builder_says_what_it_needs(programs):
    done = call(programs, str(ROOT / "scripts" / "build-image"))
    assert done.returncode == 1
    assert "needs docker with a running daemon, podman or buildah" in done.stderr


def test_an_image_is_built_by_what_is_there_when_docker_has_no_daemon(programs):
    (programs / "docker").write_text("#!/bin/sh\nexit 1\n")
    (programs / "docker").chmod(0o755)
    (programs / "buildah").symlink_to(programs / "dask")
    done = call(
        programs, str(ROOT / "scripts" / "build-image"), "name:tag", "--build-arg", "PACKAGES=numpy pandas"
    )
    assert done.stdout.strip() == "dask build --tag name:tag --build-arg PACKAGES=numpy pandas ."


def test_the_kind_cluster_has_the_name_that_the_script_uses():
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert f"cluster={config['name']}\n" in (ROOT / "scripts" / "kind-up").read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "kubernetes").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_pod_of_the_examples_keeps_the_restricted_rules(path):
    for found in yaml.safe_load_all(path.read_text()):
        spec = found.get("spec", {})
        pod = spec if found["kind"] == "Pod" else spec.get("template", {}).get("spec")
        if pod is None:
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
