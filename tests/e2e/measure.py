"""Reads what the system says of a process, and sums up numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MIB = 1 << 20


def _status_bytes(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"{field} is not in /proc/{pid}/status"
    return int(found[1]) * 1024


def resident_bytes(pid: int) -> int:
    """Bytes of a process in memory now."""
    return _status_bytes(pid, "VmRSS")


def high_water_bytes(pid: int) -> int:
    """Most bytes of a process in memory since its start or reset_high_water()."""
    return _status_bytes(pid, "VmHWM")


def reset_high_water(pid: int) -> None:
    """Makes high_water_bytes() start again from what is in memory now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def thread_names(pid: int) -> Counter[str]:
    """Threads of a process by name."""
    names: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            names[(task / "comm").read_text(encoding="utf-8").strip()] += 1
        except FileNotFoundError:  # it ended meanwhile
            continue
    return names


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    return float(np.quantile(np.asarray(values), share)) if values else float("nan")
