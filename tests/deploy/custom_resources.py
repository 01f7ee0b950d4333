"""Schemas of the custom resources that we deploy: what we use of them, and nothing else, so that no slip gets through.

Their own schemas let unknown fields pass, which the API server then drops. docs/deploy.md tells which of them were held
against what their projects publish.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from tests.deploy.rendering import Resource

Schema: TypeAlias = dict[str, Any]

NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
TEXT: Schema = {"type": "string", "minLength": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
GATEWAY_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
PROMETHEUS_DURATION: Schema = {"type": "string", "pattern": r"^(0|(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$"}
WORDS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: Schema | None = None, **optional: Schema) -> Schema:
    required = required or {}
    return {
        "type": "object",
        "properties": required | optional,
        "required": sorted(required),
        "additionalProperties": False,
    }


def _list(items: Schema, most: int = 16) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


_METADATA = _object({"name": NAME}, namespace=NAME, labels=WORDS, annotations=WORDS)

_PARENTS = _list(_object({"name": NAME}, sectionName=NAME, namespace=NAME), 32)
_BACKENDS = _list(_object({"name": NAME, "port": PORT}, weight={"type": "integer", "minimum": 0}))
_HOSTNAMES = _list(NAME)
_LISTENER = _object(
    {"name": NAME, "port": PORT, "protocol": {"enum": ["HTTPS"]}},
    hostname=NAME,
    tls=_object({"certificateRefs": _list(_object({"name": NAME}))}, mode={"enum": ["Terminate"]}),
    allowedRoutes=_object(namespaces=_object({"from": {"enum": ["Same", "All"]}})),
)
_ENDPOINT = _object(
    {"port": NAME},
    path=TEXT,
    scheme={"enum": ["http", "https"]},
    interval=PROMETHEUS_DURATION,
    scrapeTimeout=PROMETHEUS_DURATION,
    honorLabels={"type": "boolean"},
    relabelings={"type": "array"},
    metricRelabelings={"type": "array"},
)
_RULE = {
    "oneOf": [
        _object(
            {"alert": TEXT, "expr": TEXT},
            **{"for": PROMETHEUS_DURATION, "keep_firing_for": PROMETHEUS_DURATION},
            labels=WORDS,
            annotations=WORDS,
        ),
        _object({"record": TEXT, "expr": TEXT}, labels=WORDS),
    ]
}
_SELECTOR = _object(matchLabels=WORDS, matchExpressions={"type": "array"})

SPECS: dict[tuple[str, str], Schema] = {
    ("gateway.networking.k8s.io/v1", "Gateway"): _object({"gatewayClassName": NAME, "listeners": _list(_LISTENER, 64)}),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _object(
        {
            "parentRefs": _PARENTS,
            "hostnames": _HOSTNAMES,
            "rules": _list(
                _object(
                    {"backendRefs": _BACKENDS},
                    timeouts=_object(request=GATEWAY_DURATION, backendRequest=GATEWAY_DURATION),
                )
            ),
        }
    ),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): _object(
        {"parentRefs": _PARENTS, "hostnames": _HOSTNAMES, "rules": _list(_object({"backendRefs": _BACKENDS}))}
    ),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _object(
        {
            "supportedModelFormats": _list(_object({"name": NAME}, version=TEXT, autoSelect={"type": "boolean"})),
            "protocolVersions": _list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            "containers": _list({"type": "object"}),
        },
        multiModel={"type": "boolean"},
        volumes=_list({"type": "object"}),
    ),
    ("serving.kserve.io/v1beta1", "InferenceService"): _object(
        {
            "predictor": _object(
                {
                    "model": _object(
                        {"modelFormat": _object({"name": NAME}, version=TEXT), "storageUri": TEXT},
                        runtime=NAME,
                        protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
                    )
                },
                minReplicas={"type": "integer", "minimum": 0},
                maxReplicas={"type": "integer", "minimum": 1},
                scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
                scaleTarget={"type": "integer", "minimum": 1},
                automountServiceAccountToken={"type": "boolean"},
                enableServiceLinks={"type": "boolean"},
                terminationGracePeriodSeconds={"type": "integer"},
                securityContext={"type": "object"},
            )
        }
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        {"endpoints": _list(_ENDPOINT), "selector": _SELECTOR},
        namespaceSelector={"type": "object"},
        sampleLimit={"type": "integer", "minimum": 1},
        jobLabel=TEXT,
        targetLabels=_list(TEXT),
        podTargetLabels=_list(TEXT),
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        {"podMetricsEndpoints": _list(_ENDPOINT), "selector": _SELECTOR}, namespaceSelector={"type": "object"}
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        {"groups": _list(_object({"name": TEXT, "rules": _list(_RULE, 1000)}, interval=PROMETHEUS_DURATION), 1000)}
    ),
}


def schema(resource: Resource) -> Schema | None:
    """The schema of a custom resource that we know; None: it is one of Kubernetes' own, or unknown."""
    spec = SPECS.get((resource["apiVersion"], resource["kind"]))
    if spec is None:
        return None
    return _object({"apiVersion": TEXT, "kind": TEXT, "metadata": _METADATA, "spec": spec})


def as_pods(resource: Resource) -> list[Resource]:
    """The parts of a KServe resource that Kubernetes' own schemas describe, each as a Pod."""
    if resource["kind"] == "ServingRuntime":
        spec = {name: resource["spec"][name] for name in ("containers", "volumes") if name in resource["spec"]}
    elif resource["kind"] == "InferenceService":
        theirs = ("model", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
        predictor = resource["spec"]["predictor"]
        spec = {name: value for name, value in predictor.items() if name not in theirs} | {"containers": []}
    else:
        return []
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "as-a-pod"}, "spec": spec}]
