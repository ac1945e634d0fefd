"""Fixtures of the end-to-end tests: real processes, the models they serve, the generated stubs.

The programs come from `$ATTRIBUTION_BUILD/bin` (default: `build/bin`), the models from
`$ATTRIBUTION_BUILD/fixtures-e2e` and `fixtures-architectures`, made when missing or stale.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ATTRIBUTION_BUILD", ROOT / "build")).resolve()

# Test modules import the stubs, so they are generated before pytest collects.
_STUBS = tempfile.TemporaryDirectory(prefix="attribution-stubs-")
sys.path[:0] = [
    _STUBS.name,
    str(ROOT / "tests" / "oracle"),
    str(ROOT / "tests" / "fixtures"),
    str(Path(__file__).parent),
]


def _generate_stubs() -> None:
    from grpc_tools import protoc

    sources = sorted(str(path) for path in (ROOT / "proto" / "attribution").rglob("*.proto"))
    code = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={_STUBS.name}", f"--grpc_python_out={_STUBS.name}", *sources]
    )
    if code != 0:
        raise pytest.UsageError("protoc refused proto/attribution")


_generate_stubs()

import architectures  # noqa: E402
import make_models  # noqa: E402
import programs  # noqa: E402


def pytest_unconfigure() -> None:
    _STUBS.cleanup()


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """A repository with every model of tests/fixtures and all-MiniLM-L6-v2 in both forms."""
    repository = BUILD / "fixtures-e2e"
    make_models.ensure(repository, with_minilm=True)
    return repository


@pytest.fixture(scope="session")
def binaries() -> programs.Binaries:
    """The built programs."""
    found = programs.Binaries(BUILD / "bin" / "attribution-server", BUILD / "bin" / "attribution")
    for path in (found.server, found.command):
        if not path.is_file():
            pytest.fail(f"{path} is not built. Run: make build", pytrace=False)
    return found


@pytest.fixture(scope="session")
def server(
    binaries: programs.Binaries, model_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[programs.ServerProcess]:
    """One server for all tests, ready; at the end it must stop cleanly."""
    process = programs.ServerProcess(binaries.server, model_repository, tmp_path_factory.mktemp("server"))
    with process:
        process.wait_until_serving()
        yield process
        assert process.terminate() == 0, process.log()


@pytest.fixture(scope="session")
def architecture_repository() -> Path:
    """A repository with the models of tests/fixtures/architectures.py."""
    path = BUILD / "fixtures-architectures"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, architectures.__file__, "--output", str(path)], check=True, env=one_thread)
    return path


@pytest.fixture(scope="session")
def architecture_server(
    binaries: programs.Binaries, architecture_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[programs.ServerProcess]:
    """One server for all architectures."""
    directory = tmp_path_factory.mktemp("architectures")
    flags = ("--intra-op-threads", "1")
    with programs.ServerProcess(binaries.server, architecture_repository, directory, *flags) as process:
        process.wait_until_serving()
        yield process
        assert process.terminate() == 0, process.log()


@pytest.fixture(scope="session")
def tensor_repository() -> Path:
    """A repository with the models of tests/fixtures/tensor_models.py."""
    repository = BUILD / "fixtures-tensors"
    make_models.ensure_tensor_models(repository)
    return repository


@pytest.fixture(scope="session")
def tensor_server(
    binaries: programs.Binaries, tensor_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[programs.ServerProcess]:
    """One server for all models that take tensors."""
    directory = tmp_path_factory.mktemp("tensors")
    with programs.ServerProcess(binaries.server, tensor_repository, directory, "--max-sequences", "64") as process:
        process.wait_until_serving()
        yield process
        assert process.terminate() == 0, process.log()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Runs torch with one thread: more would only wait for each other over tiny tensors, on a busy machine for long."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """A repository of one small model, tiny-bert-sdpa, that the test may change."""
    folder = tmp_path / "repository"
    shutil.copytree(model_repository / "tiny-bert-sdpa", folder / "tiny-bert-sdpa")
    return folder
