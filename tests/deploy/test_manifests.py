"""The manifests: valid for the oldest and the newest Kubernetes, and of one mind with the server's settings."""

from __future__ import annotations

import re
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml
from custom_kinds import SCHEMAS
from deployment import OVERLAYS, ROOT

PRE_STOP_MARGIN_SECONDS = 5
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
SECONDS = {"s": 1, "m": 60}

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()
    return int(number) * UNITS[unit]


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()
    return int(number) * SECONDS[unit]


def one(objects: list[dict], kind: str, name: str | None = None) -> dict:
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, (kind, name, len(found))
    return found[0]


def pod(objects: list[dict]) -> dict:
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def server(objects: list[dict]) -> dict:
    return next(container for container in pod(objects)["containers"] if container["name"] == "server")


def settings_text(objects: list[dict]) -> str:
    """The settings in the ConfigMap that the pod mounts where --config looks."""
    flag, path = server(objects)["args"]
    assert flag == "--config"
    mount = next(mount for mount in server(objects)["volumeMounts"] if path.startswith(mount["mountPath"] + "/"))
    volume = next(volume for volume in pod(objects)["volumes"] if volume["name"] == mount["name"])
    return one(objects, "ConfigMap", volume["configMap"]["name"])["data"][path.rsplit("/", 1)[1]]


def port(address: str) -> int:
    host, _, number = address.rpartition(":")
    assert host == "0.0.0.0", "other pods reach the server"
    return int(number)


@each_overlay
@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_every_object_is_valid(rendered, overlay, version):
    for item in rendered[overlay]:
        if item["kind"] in SCHEMAS:
            jsonschema.validate(item, SCHEMAS[item["kind"]])
        else:
            kubernetes_validate.validate(item, version, strict=True)


def test_a_misspelt_key_is_refused(rendered):
    item = yaml.safe_load(yaml.safe_dump(one(rendered["cpu"], "Deployment")))
    item["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, "1.28", strict=True)
    rule = yaml.safe_load(yaml.safe_dump(one(rendered["monitoring"], "PrometheusRule")))
    rule["spec"]["groups"][0]["rules"][0]["exprs"] = "1"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rule, SCHEMAS["PrometheusRule"])


@each_overlay
def test_ports_and_probes_agree(rendered, overlay):
    objects = rendered[overlay]
    settings = yaml.safe_load(settings_text(objects))
    ports = {item["name"]: item["containerPort"] for item in server(objects)["ports"]}
    assert ports == {
        "grpc": port(settings["listen"]),
        "health": port(settings["health_listen"]),
        "metrics": port(settings["metrics_listen"]),
    }
    for probe, service in (("startupProbe", None), ("readinessProbe", None), ("livenessProbe", "liveness")):
        assert server(objects)[probe]["grpc"].get("service") == service
        assert server(objects)[probe]["grpc"]["port"] == ports["health"]
    for item in objects:
        if item["kind"] == "Service":
            assert all(ports[entry["targetPort"]] == entry["port"] for entry in item["spec"]["ports"])
    for rule in one(objects, "NetworkPolicy")["spec"]["ingress"]:
        assert all(entry["port"] in ports for entry in rule["ports"])
    for item in objects:
        if item["kind"] == "ServiceMonitor":
            assert all(endpoint["port"] in ports for endpoint in item["spec"]["endpoints"])


@each_overlay
def test_selectors_choose_the_pods(rendered, overlay):
    objects = rendered[overlay]
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    chosen = [item["spec"]["selector"] for item in objects if item["kind"] == "Service"]
    chosen.append(one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    chosen.append(one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    assert all(selector and selector.items() <= labels for selector in chosen)


@each_overlay
def test_grace_period_memory_and_paths_agree(rendered, overlay):
    objects = rendered[overlay]
    settings = yaml.safe_load(settings_text(objects))
    sleep = int(server(objects)["lifecycle"]["preStop"]["exec"]["command"][-1])
    least = sleep + seconds(settings["drain_timeout"]) + PRE_STOP_MARGIN_SECONDS
    assert pod(objects)["terminationGracePeriodSeconds"] >= least
    resources = server(objects)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    if settings["memory_budget"] != "auto":
        assert size(settings["memory_budget"]) + 2**30 <= size(resources["limits"]["memory"])
    mounts = [mount["mountPath"] for mount in server(objects)["volumeMounts"]]
    assert settings["model_repository"] in mounts
    assert settings["model_repository"] in pod(objects)["initContainers"][0]["command"][-1]
    for key in ("tls_cert", "tls_key", "tls_client_ca"):
        assert key not in settings or settings[key].rsplit("/", 1)[0] in mounts


@each_overlay
def test_nothing_runs_as_root_or_may_write(rendered, overlay):
    spec = pod(rendered[overlay])
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"] + spec["initContainers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


@each_overlay
def test_the_server_takes_the_settings(rendered, overlay, server_binary, tmp_path):
    text = settings_text(rendered[overlay])
    path = tmp_path / "server.yaml"
    path.write_text(text, encoding="utf-8")
    command = [server_binary, "--config", path, "--print-config"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert printed.returncode == 0, printed.stderr
    used = yaml.safe_load(printed.stdout)
    assert {key: used[key] for key in yaml.safe_load(text)} == yaml.safe_load(text)


def test_every_alert_has_its_runbook():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    alerts = set()
    for path in (ROOT / "deploy/prometheus").glob("*rules*.yaml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    alerts.add(rule["alert"].lower())
                    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert alerts == headings
