"""/metrics: families from the start, names, and values that follow the requests."""

import re
import shutil

import calls
import programs
import pytest

# Families whose labels do not come from requests: they are there before the first one.
FROM_THE_START = {
    "grpc_server_started_total": "counter",
    "grpc_server_handled_total": "counter",
    "grpc_server_msg_received_total": "counter",
    "grpc_server_msg_sent_total": "counter",
    "grpc_server_handling_seconds": "histogram",
    "attribution_admission_decisions_total": "counter",
    "attribution_admission_estimated_bytes": "histogram",
    "attribution_request_peak_bytes": "histogram",
    "attribution_memory_budget_bytes": "gauge",
    "attribution_memory_reserved_bytes": "gauge",
    "attribution_queue_depth": "gauge",
    "attribution_queue_seconds": "histogram",
    "attribution_workers": "gauge",
    "attribution_workers_busy": "gauge",
    "attribution_forward_seconds": "histogram",
    "attribution_chunk_size": "histogram",
    "attribution_chunks_total": "counter",
    "attribution_oom_total": "counter",
    "attribution_requests_total": "counter",
    "attribution_model_loaded": "gauge",
    "attribution_model_load_seconds": "histogram",
    "attribution_model_resident_bytes": "gauge",
    "attribution_device_healthy": "gauge",
    "attribution_rollout_entropy": "histogram",
    "attribution_attention_entropy": "histogram",
    "attribution_attention_concentration": "histogram",
    "attribution_build_info": "gauge",
}


def types(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_families_exist_before_the_first_request(binaries, model_repository, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(model_repository / "tiny-bert-sdpa", repository / "tiny-bert-sdpa")
    with programs.ServerProcess(binaries.server, repository, tmp_path) as fresh:
        fresh.wait_until_serving()
        found = types(fresh.scrape())
        missing = {name: kind for name, kind in FROM_THE_START.items() if found.get(name) != kind}
        assert not missing
        assert fresh.total("attribution_requests_total") == 0
        assert fresh.total("attribution_device_healthy", device="cpu") == 1
        assert fresh.terminate() == 0


def test_only_known_prefixes_and_no_summaries(server):
    found = types(server.scrape())
    assert "summary" not in found.values()
    assert all(name.startswith(("grpc_server_", "attribution_")) for name in found), found


def test_one_request_is_counted(server):
    handled = {"grpc_method": "Attribute", "grpc_code": "OK", "grpc_service": "attribution.v1.AttributionService"}
    names = {
        "grpc_server_handled_total": handled,
        "grpc_server_msg_sent_total": {"grpc_method": "Attribute"},
        "attribution_chunks_total": {"model": "minilm-sdpa"},
        "attribution_rollout_entropy_count": {"model": "minilm-sdpa"},
    }
    message = calls.request("minilm-sdpa", [[101, 7592, 102], [101, 102]])
    calls.attribute(server, message)
    before = {name: server.total(name, **labels) for name, labels in names.items()}
    reply = calls.attribute(server, message)
    after = {name: server.total(name, **labels) for name, labels in names.items()}
    grown = {name: after[name] - before[name] for name in names}
    assert grown == {
        "grpc_server_handled_total": 1,
        "grpc_server_msg_sent_total": len(reply.events),
        "attribution_chunks_total": reply.result.num_chunks,
        "attribution_rollout_entropy_count": 2,
    }


def test_refusal_is_counted_with_its_code(server):
    labels = {"grpc_method": "Attribute", "grpc_code": "NotFound"}
    message = calls.request("no-such-model", [[1]])
    calls.failed_attribute(server, message)
    before = server.total("grpc_server_handled_total", **labels)
    calls.failed_attribute(server, message)
    assert server.total("grpc_server_handled_total", **labels) == before + 1


@pytest.mark.parametrize("label", ("request_id", "text", "peer"))
def test_no_label_of_a_request(server, label):
    assert f'{label}="' not in server.scrape()


def test_models_tell_whether_they_are_loaded(server):
    assert server.total("attribution_model_loaded", model="minilm-sdpa") == 1
    assert server.total("attribution_model_resident_bytes", model="minilm-sdpa") > 80e6
