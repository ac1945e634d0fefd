"""The server runs under the allocator that the build has found for it."""

from pathlib import Path

import conftest
import pytest


def cache_entry(name: str) -> str:
    """The value of a CMake cache entry of the build; empty if there is none."""
    for line in (conftest.BUILD / "CMakeCache.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return line.partition("=")[2]
    return ""


def test_the_allocator_is_in_the_process(server):
    library = cache_entry("ATTRIBUTION_TCMALLOC")
    if not library or library.endswith("-NOTFOUND") or cache_entry("ATTRIBUTION_SANITIZE"):
        pytest.skip("This build has no allocator of its own.")
    maps = Path(f"/proc/{server.pid}/maps").read_text(encoding="utf-8")
    assert str(Path(library).resolve()) in maps
