"""Strict schemas of the custom resources that the chart writes.

Written for these tests, not copied: from the published definitions of kafkatopics.kafka.strimzi.io
(v1), triggerauthentications.keda.sh, certificates.cert-manager.io and
prometheusrules.monitoring.coreos.com (operator 0.76), and from the reference pages of KEDA's
ScaledObject, PodMonitor, ServiceMonitor and the Gateway API's HTTPRoute (v1). Each has the fields
that the chart uses and no other, so a new field is looked up before it is added here.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
_NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?"
    "(([0-9]+)ms)?)$",
}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(required),
    }


def _list(item: dict[str, Any], least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least}


def _resource(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _object(
        ("name", "namespace", "labels"),
        name={"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"},
        namespace=_NAME,
        labels=_TEXTS,
        annotations=_TEXTS,
    )
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=metadata,
        spec=spec,
    )


_POLICIES: Final = _list(
    _object(
        ("type", "value", "periodSeconds"),
        type={"enum": ["Pods", "Percent"]},
        value={"type": "integer", "minimum": 1},
        periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
    )
)
_SCALING: Final = _object(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    policies=_POLICIES,
)
_TRIGGER: Final = _object(
    ("type", "metadata"),
    type=_NAME,
    name=_NAME,
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    metadata=_TEXTS,
    authenticationRef=_object(("name",), name=_NAME),
)
# KEDA's webhook accepts a fallback only with a trigger that is not for processor time or memory.
_ASKS: Final[dict[str, Any]] = {
    "if": {"required": ["fallback"]},
    "then": {
        "properties": {
            "triggers": {
                "contains": {"properties": {"type": {"not": {"enum": ["cpu", "memory"]}}}},
            }
        }
    },
}
_SCALED_OBJECT: Final = _ASKS | _object(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=_object(("name",), apiVersion=_TEXT, kind=_TEXT, name=_NAME),
    minReplicaCount=_NUMBER,
    maxReplicaCount=_NUMBER,
    pollingInterval=_NUMBER,
    fallback=_object(
        ("failureThreshold", "replicas"),
        failureThreshold=_NUMBER,
        replicas=_NUMBER,
        behavior={
            "enum": [
                "static",
                "currentReplicas",
                "currentReplicasIfHigher",
                "currentReplicasIfLower",
            ]
        },
    ),
    advanced=_object(
        horizontalPodAutoscalerConfig=_object(
            behavior=_object(scaleUp=_SCALING, scaleDown=_SCALING)
        )
    ),
    triggers=_list(_TRIGGER),
)
_LOGIN: Final = _object(
    secretTargetRef=_list(
        _object(("parameter", "name", "key"), parameter=_NAME, name=_NAME, key=_NAME)
    ),
    env=_list(_object(("parameter", "name"), parameter=_NAME, name=_NAME, containerName=_NAME)),
)
_SELECTOR: Final = _object(
    matchLabels=_TEXTS,
    matchExpressions=_list(
        _object(
            ("key", "operator"),
            key=_NAME,
            operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            values=_list(_TEXT),
        )
    ),
)
_ENDPOINT: Final = _object(
    port=_NAME,
    path=_TEXT,
    interval=_DURATION,
    relabelings=_list(
        _object(
            sourceLabels=_list({"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}),
            targetLabel=_NAME,
            replacement=_TEXT,
        )
    ),
)
_RULE: Final = _object(
    ("alert", "expr"),
    alert=_NAME,
    expr=_NAME,
    labels=_TEXTS,
    annotations=_TEXTS,
    **{"for": _DURATION},
)
_TOPIC: Final = _object(
    partitions={"type": "integer", "minimum": 1},
    replicas={"type": "integer", "minimum": 1, "maximum": 32_767},
    config=_TEXTS,
)
_CERTIFICATE: Final = _object(
    ("issuerRef", "secretName"),
    secretName=_NAME,
    dnsNames=_list(_NAME),
    privateKey=_object(
        algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
        size=_NUMBER,
        rotationPolicy={"enum": ["Never", "Always"]},
    ),
    usages=_list({"enum": ["server auth", "client auth"]}),
    issuerRef=_object(("name",), group=_TEXT, kind=_TEXT, name=_NAME),
)
_ROUTE: Final = _object(
    ("parentRefs", "hostnames", "rules"),
    parentRefs=_list(_object(("name",), name=_NAME, namespace=_NAME, sectionName=_NAME)),
    hostnames=_list(_NAME),
    rules=_list(
        _object(
            ("matches", "backendRefs"),
            matches=_list(
                _object(
                    path=_object(
                        ("type", "value"),
                        type={"enum": ["Exact", "PathPrefix", "RegularExpression"]},
                        value={"type": "string", "pattern": "^/"},
                    )
                )
            ),
            backendRefs=_list(
                _object(
                    ("name", "port"),
                    name=_NAME,
                    port={"type": "integer", "minimum": 1, "maximum": 65_535},
                )
            ),
        )
    ),
)

CRD_SCHEMAS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _resource(_SCALED_OBJECT),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _resource(_LOGIN),
    ("monitoring.coreos.com/v1", "PodMonitor"): _resource(
        _object(("selector",), selector=_SELECTOR, podMetricsEndpoints=_list(_ENDPOINT))
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _resource(
        _object(("selector", "endpoints"), selector=_SELECTOR, endpoints=_list(_ENDPOINT))
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _resource(
        _object(groups=_list(_object(("name",), name=_NAME, rules=_list(_RULE))))
    ),
    ("kafka.strimzi.io/v1", "KafkaTopic"): _resource(_TOPIC),
    ("kafka.strimzi.io/v1beta2", "KafkaTopic"): _resource(_TOPIC),
    ("cert-manager.io/v1", "Certificate"): _resource(_CERTIFICATE),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _resource(_ROUTE),
}
