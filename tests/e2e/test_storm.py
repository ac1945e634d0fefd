"""Many clients, mixed shapes, memory for few: every reply right or a refusal that says when to come again."""

from __future__ import annotations

import os
import shutil

import calls
import load_clients
import measure
import programs
import pytest

SECONDS = float(os.environ.get("ATTRIBUTION_STORM_SECONDS", "60"))
REQUESTS_IN_MEMORY = 3
SHAPES = [(batch, length) for length in (4, 16, 48, 128, 256) for batch in (1, 2, 4, 8)]


def storm_server(binaries, model_repository, tmp_path, model, budget, *flags):
    repository = tmp_path / f"repository-{budget}"
    shutil.copytree(model_repository / model, repository / model)
    directory = tmp_path / f"server-{budget}"
    directory.mkdir()
    return programs.ServerProcess(binaries.server, repository, directory, "--memory-budget", str(budget), *flags)


def budget_for(server, cases) -> int:
    """Memory for about three of the requests at once, and for the largest in any case."""
    stub = calls.attribution_stub(server)
    estimates = [
        load_clients.ask(stub, case.message, case.unary, calls.CALL_SECONDS).admitted.estimated_peak_bytes
        for case in cases
    ]
    return max(REQUESTS_IN_MEMORY * sum(estimates) // len(estimates), max(estimates) * 5 // 4)


def run(binaries, model_repository, tmp_path, model, shapes, processes, clients, seconds, queue_limit):
    """Storms a server; returns what the clients saw and what the server's process and metrics say."""
    with storm_server(binaries, model_repository, tmp_path, model, 1 << 32) as idle:
        idle.wait_until_serving()
        cases = load_clients.make_cases(idle, model, shapes, matrices=True, seed=7)
        budget = budget_for(idle, cases)
    flags = ("--queue-limit", str(queue_limit))
    with storm_server(binaries, model_repository, tmp_path, model, budget, *flags) as server:
        server.wait_until_serving()
        stub = calls.attribution_stub(server)
        for case in cases:  # warm: every shape has run once
            load_clients.ask(stub, case.message, case.unary, calls.CALL_SECONDS)
        warm = measure.resident_bytes(server.pid)
        measure.reset_high_water(server.pid)
        tally = load_clients.storm(server.address, cases, processes, clients, seconds)
        figures = {
            "budget MiB": budget / measure.MIB,
            "warm MiB": warm / measure.MIB,
            "high water above warm MiB": (measure.high_water_bytes(server.pid) - warm) / measure.MIB,
            "right": tally.right,
            "refused": dict(tally.refused),
            "seconds p50": measure.quantile(tally.seconds, 0.5),
            "seconds p99": measure.quantile(tally.seconds, 0.99),
            "ratio p5": measure.quantile(tally.ratios, 0.05),
            "ratio p50": measure.quantile(tally.ratios, 0.5),
            "ratio p95": measure.quantile(tally.ratios, 0.95),
            "ratio max": max(tally.ratios, default=float("nan")),
            "ratio share in 0.8 to 1.0": sum(0.8 <= r <= 1.0 for r in tally.ratios) / max(1, len(tally.ratios)),
            "out of memory": server.total("attribution_oom_total"),
        }
        for name in ("attribution_memory_allocated_peak_bytes",):
            found = server.samples(name)
            figures[name] = max((sample.value for sample in found), default=None)
        print("\n" + "\n".join(f"{name}: {value}" for name, value in figures.items()))
        assert not tally.faults, tally.faults[:5]
        assert tally.right > 0
        assert server.total("attribution_memory_reserved_bytes") == 0
        assert server.total("attribution_queue_depth") == 0
        assert server.terminate() == 0, server.log()
    return figures


def test_a_short_storm_is_answered_right(binaries, model_repository, tmp_path):
    shapes = [(batch, length) for length in (4, 16, 60) for batch in (1, 3, 8)]
    figures = run(
        binaries, model_repository, tmp_path, "tiny-bert-sdpa", shapes, processes=2, clients=8, seconds=2, queue_limit=4
    )
    assert any("QUEUE_FULL" in name for name in figures["refused"])


@pytest.mark.soak
def test_storm(binaries, model_repository, tmp_path):
    figures = run(
        binaries,
        model_repository,
        tmp_path,
        "minilm-sdpa",
        SHAPES,
        processes=4,
        clients=16,
        seconds=SECONDS,
        queue_limit=48,
    )
    budget = figures["budget MiB"]
    assert figures["attribution_memory_allocated_peak_bytes"] / measure.MIB <= budget
    assert figures["high water above warm MiB"] <= 1.4 * budget + 64
    assert figures["ratio share in 0.8 to 1.0"] >= 0.95
