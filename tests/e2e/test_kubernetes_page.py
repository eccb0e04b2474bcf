"""docs/kubernetes.md, line by line."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from .console import Shell, agrees, lines_of
from .installing import ROOT

PAGE = ROOT / "docs" / "kubernetes.md"
INSTALLS = re.compile(r"helm (upgrade|uninstall|test)|.* --namespace daskqueue-system")
HERE = re.compile(r"^export (IMAGE|NEXT)=")


@pytest.fixture
def shell(kube, namespace, tmp_path, image, image_2):
    """A shell in the checkout whose context names the test's namespace, with this run's images."""
    config = tmp_path / "kubeconfig"
    shutil.copy(os.environ["KUBECONFIG"], config)
    repository, _, tag = image.rpartition(":")
    variables = {"IMAGE": repository, "TAG": tag, "NEXT": image_2.rpartition(":")[2]}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    opened = Shell(
        ROOT, {**os.environ, **variables, "KUBECONFIG": str(config), "PATH": path}, tmp_path / "said"
    )
    opened.run(f"kubectl config set-context --current --namespace={namespace}", 10)
    yield opened
    opened.close()


def free_port():
    """Return a port of this machine that nobody has now; the page's may be taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.timeout(600)
def test_the_page_does_what_it_says(release, shell, image):
    lines = lines_of(PAGE.read_text().replace("18786", str(free_port())))
    assert len(lines) > 30
    try:
        for line in lines:
            if HERE.match(line.command):
                continue  # the names of the reader's own images; this run has others
            if os.environ.get("E2E_INSTALLED") and INSTALLS.match(line.command):
                continue  # somebody else's installation
            code, output, said = shell.run(line.command, 180)
            assert code == 0, f"{line.command}\n{output}{said}"
            assert agrees(line.shown, output), (
                f"{line.command}\nshows\n{output}{said}\nand not\n" + "\n".join(line.shown)
            )
    finally:
        if not os.environ.get("E2E_INSTALLED"):
            release.install(image)  # the page ends with taking it away
