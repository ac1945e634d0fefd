"""What the manifests may say in kinds that Kubernetes itself does not know, by kind. All else is refused."""

_STRING = {"type": "string", "minLength": 1}
_DURATION = {"type": "string", "pattern": "^([0-9]+(s|m|h|d))+$"}
_TEXTS = {"type": "object", "additionalProperties": _STRING}

_RULE = {
    "type": "object",
    "required": ["expr"],
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
    "properties": {
        "alert": _STRING,
        "record": _STRING,
        "expr": _STRING,
        "for": _DURATION,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "additionalProperties": False,
}


def _object(required: list[str], **properties: object) -> dict:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _kind(kind: str, spec: dict) -> dict:
    metadata = _object(["name"], name=_STRING, labels=_TEXTS)
    version = {"const": "monitoring.coreos.com/v1"}
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion=version,
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_GROUP = _object(["name", "rules"], name=_STRING, rules={"type": "array", "minItems": 1, "items": _RULE})
_ENDPOINT = _object(["port"], port=_STRING, interval=_DURATION)
_SELECTOR = _object(["matchLabels"], matchLabels=_TEXTS)

SCHEMAS = {
    "PrometheusRule": _kind("PrometheusRule", _object(["groups"], groups={"type": "array", "items": _GROUP})),
    "ServiceMonitor": _kind(
        "ServiceMonitor",
        _object(["selector", "endpoints"], selector=_SELECTOR, endpoints={"type": "array", "items": _ENDPOINT}),
    ),
}
