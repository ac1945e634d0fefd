"""Who gets in: certificates, tokens, roles and rates, with real TLS and real processes."""

from __future__ import annotations

import json
import threading
import time

import calls
import certificates
import grpc
import programs
import pytest
from attribution.v1 import attribution_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

MODEL = "tiny-bert-sdpa"
IDS = [[2, 17, 35, 60, 3]]
USER = "user-token-0123456789"
ADMIN = "admin-token-0123456789"
SLOW = "slow-token-0123456789"
TOKENS = f"""tokens:
  - {{name: user, token: {USER}, role: attribute}}
  - {{name: admin, token: {ADMIN}, role: admin}}
  - {{name: slow, token: {SLOW}, role: attribute, rate_limit: 0.01, burst: 2}}
"""


class SecureServer(programs.ServerProcess):
    """A server that is watched by its plaintext health address, and reached by channels of one's own."""

    def __init__(self, binaries, repository, directory, *flags):
        super().__init__(binaries.server, repository, directory, "--health-listen", "127.0.0.1:0", *flags)
        self._ports = directory / "ports.json"

    def wait_until_serving(self):
        end = time.monotonic() + programs.START_SECONDS
        while not self._ports.exists():
            assert self._process.poll() is None and time.monotonic() < end, self.log()
            threading.Event().wait(0.02)
        ports = json.loads(self._ports.read_text(encoding="utf-8"))
        self.address = f"127.0.0.1:{ports['listen']}"
        self.admin_address = f"127.0.0.1:{ports['admin']}"
        self.metrics_address = f"127.0.0.1:{ports['metrics']}"
        self.channel = grpc.insecure_channel(f"127.0.0.1:{ports['health']}")
        self.wait_for_health("", health_pb2.HealthCheckResponse.SERVING, end - time.monotonic())


def attribute(channel, token=None, metadata=None):
    sent = metadata if metadata is not None else [("authorization", f"Bearer {token}")] if token else []
    stub = attribution_service_pb2_grpc.AttributionServiceStub(channel)
    return calls.Attribution(list(stub.Attribute(calls.request(MODEL, IDS), metadata=sent, timeout=10)))


def load(channel, token=None):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    return stub.LoadModel(model_service_pb2.LoadModelRequest(model=MODEL), metadata=metadata, timeout=30)


def refused(call):
    found = calls.failure(call)
    return found.code, found.error_info.reason if found.error_info else ""


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens.yaml"
    path.write_text(TOKENS, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(binaries, repository, tokens, tmp_path):
    """A server that asks for tokens."""
    flags = ("--auth-tokens-file", str(tokens), "--auth-refresh-interval", "0s", "--admin-listen", "127.0.0.1:0")
    with SecureServer(binaries, repository, tmp_path, *flags) as server:
        server.wait_until_serving()
        yield server


def test_tokens_and_roles(guarded):
    channel = grpc.insecure_channel(guarded.address)
    unauthenticated = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN")
    assert attribute(channel, USER).result.metrics.rollout_entropy > 0
    assert refused(lambda: attribute(channel)) == unauthenticated
    assert refused(lambda: attribute(channel, "wrong-token-0123456789")) == unauthenticated
    for metadata in (
        [("authorization", USER)],
        [("authorization", f"Basic {USER}")],
        [("authorization", f"Bearer {USER}"), ("authorization", f"Bearer {ADMIN}")],
        [("authorization", f"Bearer {USER} ")],
    ):
        found = refused(lambda metadata=metadata: attribute(channel, metadata=metadata))
        assert found == unauthenticated or metadata[0][1].endswith(" ")  # HTTP/2 may trim the last one
    assert refused(lambda: load(channel, USER)) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_TOO_SMALL")
    assert load(channel, ADMIN).model.name == MODEL
    admin = grpc.insecure_channel(guarded.admin_address)
    assert refused(lambda: load(admin, USER))[0] == grpc.StatusCode.PERMISSION_DENIED
    assert load(admin, ADMIN).model.name == MODEL
    assert USER not in guarded.log() and ADMIN not in guarded.log()


def test_every_method_asks(guarded):
    channel = grpc.insecure_channel(guarded.address)
    pb2, stub = calls.attribution_service_pb2, attribution_service_pb2_grpc.AttributionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    for call in (
        lambda: stub.Attribute(pb2.AttributeRequest(), timeout=10),
        lambda: stub.ComputeMetrics(pb2.ComputeMetricsRequest(), timeout=10),
        lambda: stub.Estimate(pb2.EstimateRequest(), timeout=10),
        lambda: stub.Rollout(iter(()), timeout=10),
        lambda: models.ListModels(model_service_pb2.ListModelsRequest(), timeout=10),
        lambda: models.GetModel(model_service_pb2.GetModelRequest(), timeout=10),
        lambda: models.LoadModel(model_service_pb2.LoadModelRequest(), timeout=10),
        lambda: models.UnloadModel(model_service_pb2.UnloadModelRequest(), timeout=10),
    ):
        assert refused(call)[0] == grpc.StatusCode.UNAUTHENTICATED
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING  # load balancers have no token


def test_rate_limit(guarded):
    channel = grpc.insecure_channel(guarded.address, [("grpc.enable_retries", 0)])
    for _ in range(2):
        attribute(channel, SLOW)
    found = calls.failure(lambda: attribute(channel, SLOW))
    assert (found.code, found.error_info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 0 < found.retry_seconds <= 100
    attribute(channel, USER)  # others go on


def test_metadata_is_bounded(guarded):
    channel = grpc.insecure_channel(guarded.address)
    large = [("authorization", f"Bearer {USER}"), ("x-large", "x" * (16 << 10))]
    assert refused(lambda: attribute(channel, metadata=large))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    attribute(channel, USER)


def test_replaced_tokens(guarded, tokens):
    channel = grpc.insecure_channel(guarded.address)
    attribute(channel, USER)
    tokens.write_text(TOKENS.replace(USER, "next-token-0123456789"), encoding="utf-8")
    attribute(channel, "next-token-0123456789")
    assert refused(lambda: attribute(channel, USER))[0] == grpc.StatusCode.UNAUTHENTICATED
    tokens.write_text("tokens: [", encoding="utf-8")
    attribute(channel, "next-token-0123456789")  # a file that is not valid changes nothing
    assert "cannot be used" in guarded.log()


def test_command_line_token(guarded, binaries, tmp_path):
    for name, token in (("good", USER), ("bad", "wrong-token-0123456789")):
        (tmp_path / name).write_text(token + "\n", encoding="utf-8")
    query = ("query", "--model", MODEL, "--ids", "2,17,35,3", "--format", "json", "--server", guarded.address)
    assert binaries.run(*query, "--token-file", str(tmp_path / "good")).returncode == 0
    bad = binaries.run(*query, "--token-file", str(tmp_path / "bad"))
    assert bad.returncode == 3 and "token" in bad.stderr
    load_it = ("models", "load", MODEL, "--server", guarded.address, "--token-file", str(tmp_path / "good"))
    assert binaries.run(*load_it).returncode == 3


class Tls:
    """An authority, a server under it that asks for client certificates, and channels to it."""

    def __init__(self, binaries, repository, directory, client_ca=True):
        self.authority = certificates.Authority("test authority")
        self.folder = directory / "tls"
        self.folder.mkdir()
        self.paths = self.authority.issue("server").write(self.folder, "server")
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(self.authority.certificate)
        flags = ["--tls-cert", str(self.paths[0]), "--tls-key", str(self.paths[1]), "--tls-refresh-interval", "1s"]
        if client_ca:
            flags += ["--tls-client-ca", str(self.ca)]
        self.server = SecureServer(binaries, repository, directory, *flags)

    def channel(self, pair=None, authority=None):
        """A new connection, with the certificate of `pair`."""
        roots = (authority or self.authority).certificate
        credentials = grpc.ssl_channel_credentials(
            roots, pair.key if pair else None, pair.certificate if pair else None
        )
        return grpc.secure_channel(self.server.address, credentials, [("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
def mutual(binaries, repository, tmp_path):
    tls = Tls(binaries, repository, tmp_path)
    with tls.server:
        tls.server.wait_until_serving()
        yield tls


def test_client_certificates(mutual):
    good = mutual.channel(mutual.authority.issue("dashboards"))
    assert attribute(good).result.metrics.rollout_entropy > 0
    assert load(good).model.name == MODEL  # without tokens a certificate may do everything
    without = mutual.channel()
    assert refused(lambda: attribute(without)) == (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_MISSING")
    expired = mutual.channel(mutual.authority.issue("late", days=-1))
    assert refused(lambda: attribute(expired))[0] == grpc.StatusCode.UNAVAILABLE
    foreign = mutual.channel(certificates.Authority("another").issue("stranger"))
    assert refused(lambda: attribute(foreign))[0] == grpc.StatusCode.UNAVAILABLE
    plain = grpc.insecure_channel(mutual.server.address)
    assert refused(lambda: attribute(plain))[0] == grpc.StatusCode.UNAVAILABLE
    assert attribute(good).result.metrics.rollout_entropy > 0


def test_the_server_proves_who_it_is(mutual):
    pair = mutual.authority.issue("dashboards")
    fooled = mutual.channel(pair, certificates.Authority("another"))
    assert refused(lambda: attribute(fooled))[0] == grpc.StatusCode.UNAVAILABLE


def test_replaced_certificate_serves_within_its_interval(mutual):
    pair = mutual.authority.issue("dashboards")
    kept = mutual.channel(pair)
    attribute(kept)
    successor = certificates.Authority("next authority")
    successor.issue("server").write(mutual.folder, "server")
    end = time.monotonic() + 10
    while True:  # a new connection each time; those that are open keep theirs
        try:
            attribute(mutual.channel(pair, successor))
            break
        except grpc.RpcError:
            assert time.monotonic() < end, mutual.server.log()
            threading.Event().wait(0.1)
    attribute(kept)


def test_a_pair_that_does_not_match_is_passed_over(mutual):
    """Half of a replacement, or a wrong one, is not served: what there was goes on."""
    pair = mutual.authority.issue("dashboards")
    other = mutual.authority.issue("server")
    (mutual.folder / "other.key").write_bytes(other.key)
    (mutual.folder / "other.key").rename(mutual.paths[1])
    end = time.monotonic() + 10
    while "cannot be used" not in mutual.server.log():
        attribute(mutual.channel(pair))
        assert time.monotonic() < end
    attribute(mutual.channel(pair))
    (mutual.folder / "other.pem").write_bytes(other.certificate)
    (mutual.folder / "other.pem").rename(mutual.paths[0])
    attribute(mutual.channel(pair))


def test_command_line_certificates(mutual, binaries):
    certificate, key = mutual.authority.issue("person").write(mutual.folder, "person")
    listing = ("models", "list", "--server", mutual.server.address)
    ca = ("--tls-ca", str(mutual.ca))
    mine = ("--tls-cert", str(certificate), "--tls-key", str(key))
    assert binaries.run(*listing, *ca, *mine).returncode == 0
    assert binaries.run(*listing, *ca).returncode == 3
    assert binaries.run(*listing).returncode == 4
    assert binaries.run(*listing, "--tls").returncode == 4
    assert binaries.run(*listing, *ca, *mine[:2]).returncode == 2
    assert binaries.run(*listing, "--tls-ca", "/nowhere").returncode == 2


def test_files_that_cannot_be_used_are_named(binaries, repository, tmp_path):
    authority = certificates.Authority("test authority")
    certificate, key = authority.issue("server").write(tmp_path, "server")
    _, other = authority.issue("other").write(tmp_path, "other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate", encoding="utf-8")
    for flags, named in (
        (("--tls-cert", certificate, "--tls-key", other), other),
        (("--tls-cert", text, "--tls-key", key), text),
        (("--tls-cert", certificate, "--tls-key", text), text),
        (("--tls-cert", certificate, "--tls-key", tmp_path / "none"), tmp_path / "none"),
        (("--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", text), text),
        (("--auth-tokens-file", text), text),
    ):
        server = programs.ServerProcess(binaries.server, repository, tmp_path, *map(str, flags))
        with server:
            assert server.wait() == 1
            assert str(named) in server.log()


def test_errors_tell_no_paths(guarded, repository):
    """Whatever goes wrong, the answer names no place on the server's disk."""
    (repository / "broken" / "1").mkdir(parents=True)
    (repository / "broken" / "1" / "model.pt").write_bytes(b"no model")
    (repository / "outside" / "1").mkdir(parents=True)
    (repository / "outside" / "1" / "model.pt").symlink_to("/etc/passwd")
    channel = grpc.insecure_channel(guarded.address)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    admin = [("authorization", f"Bearer {ADMIN}")]
    stub = attribution_service_pb2_grpc.AttributionServiceStub(channel)
    told = []
    for model in ("broken", "outside", "none", "../x", "/etc/passwd"):
        request = model_service_pb2.LoadModelRequest(model=model)
        told.append(calls.failure(lambda r=request: models.LoadModel(r, metadata=admin, timeout=30)))
        ask = calls.request(model, IDS)
        told.append(calls.failure(lambda r=ask: stub.Attribute(r, metadata=admin, timeout=30)))
    listing = models.ListModels(model_service_pb2.ListModelsRequest(), metadata=admin, timeout=10)
    texts = [found.message for found in told] + [model.load_error for model in listing.models]
    assert any("broken" in text for text in texts)
    for text in texts:
        assert str(repository) not in text and "passwd" not in text.replace('/etc/passwd"', "")
