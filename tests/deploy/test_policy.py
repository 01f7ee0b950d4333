"""Our own rules hold for every overlay, and each of them can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.settings import DrainSettings
from tests.deploy.pods import pods, settings
from tests.deploy.policy import complaints
from tests.deploy.rendering import NAMES, Resource, needs_kubectl, one, rendered

pytestmark = needs_kubectl

Change = Callable[[list[Resource]], object]


def pod(resources: list[Resource]) -> dict[str, Any]:
    return one(resources, "Deployment")["spec"]["template"]["spec"]


def container(resources: list[Resource]) -> dict[str, Any]:
    return pod(resources)["containers"][0]


def values(resources: list[Resource]) -> dict[str, str]:
    [found] = [r for r in resources if r["metadata"]["name"].startswith("totalvi-serve-settings")]
    return found["data"]


def without(kind: str) -> Change:
    def change(resources: list[Resource]) -> None:
        resources[:] = [resource for resource in resources if resource["kind"] != kind]

    return change


def service(resources: list[Resource], name: str) -> dict[str, Any]:
    return one(resources, "Service", name)["spec"]


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_obeys(name: str) -> None:
    resources = rendered(name)
    assert complaints(resources) == []
    assert len(list(pods(resources))) == 1


BROKEN: dict[str, Change] = {
    "runs as root": lambda r: pod(r)["securityContext"].update(runAsUser=0),
    "runAsNonRoot is not set": lambda r: pod(r)["securityContext"].pop("runAsNonRoot"),
    "no seccomp profile": lambda r: pod(r)["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "is given a token of the cluster's": lambda r: pod(r).pop("automountServiceAccountToken"),
    "is given variables of services": lambda r: pod(r).pop("enableServiceLinks"),
    "would not start: unknown environment variable TOTALVI_SERVE_PORT": lambda r: pod(r).pop("enableServiceLinks"),
    "hostNetwork": lambda r: pod(r).update(hostNetwork=True),
    "is the host's": lambda r: pod(r)["volumes"].append({"name": "disk", "hostPath": {"path": "/"}}),
    "may fill the node": lambda r: pod(r)["volumes"].append({"name": "much", "emptyDir": {}}),
    "totalvi-serve:latest is not pinned": lambda r: container(r).update(
        image="registry.example.com/totalvi-serve:latest"
    ),
    "registry.example.com:5000/totalvi-serve is not pinned": lambda r: container(r).update(
        image="registry.example.com:5000/totalvi-serve"
    ),
    "may become more than it is": lambda r: container(r)["securityContext"].pop("allowPrivilegeEscalation"),
    "may write to its root": lambda r: container(r)["securityContext"].update(readOnlyRootFilesystem=False),
    "keeps capabilities": lambda r: container(r)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "is privileged": lambda r: container(r)["securityContext"].update(privileged=True),
    "no limits.memory": lambda r: container(r)["resources"]["limits"].pop("memory"),
    "no requests.cpu": lambda r: container(r)["resources"]["requests"].pop("cpu"),
    "may be evicted": lambda r: container(r)["resources"]["requests"].update(memory="1Gi"),
    "which are not there": lambda r: pod(r)["volumes"].pop(),
    "livenessProbe does not ask": lambda r: container(r)["livenessProbe"]["httpGet"].update(path="/readyz"),
    "readinessProbe does not ask": lambda r: container(r)["readinessProbe"]["httpGet"].update(port="http"),
    "startupProbe does not ask": lambda r: container(r).pop("startupProbe"),
    "too little time to load": lambda r: container(r)["startupProbe"].update(failureThreshold=10),
    "may write to the models": lambda r: container(r)["volumeMounts"][0].pop("readOnly"),
    "listens on 127.0.0.1": lambda r: values(r).pop("TOTALVI_HOST"),
    "would not start: unknown environment variable TOTALVI_DRAIN_DELAY": lambda r: values(r).update(
        TOTALVI_DRAIN_DELAY="3"
    ),
    "is killed after 30 s": lambda r: pod(r).pop("terminationGracePeriodSeconds"),
    "is killed after 60 s: hook 0, delay 10, timeout 55": lambda r: values(r).update(TOTALVI_DRAIN_TIMEOUT_S="55"),
    "is killed after 60 s: hook 30": lambda r: container(r).update(lifecycle={"preStop": {"sleep": {"seconds": 30}}}),
    "is killed after 60 s: hook inf": lambda r: container(r).update(
        lifecycle={"preStop": {"exec": {"command": ["x"]}}}
    ),
    "serves on for 2 s": lambda r: values(r).update(TOTALVI_DRAIN_DELAY_S="2"),
    "to be noticed takes 35 s": lambda r: container(r)["readinessProbe"].update(periodSeconds=10, failureThreshold=3),
    "where its settings need": lambda r: values(r).pop("TOTALVI_MAX_QUEUE_BYTES"),
    "1 GPUs for cpu": lambda r: container(r)["resources"]["limits"].update({"nvidia.com/gpu": 1}),
    "16 threads": lambda r: container(r)["env"].append({"name": "TOTALVI_THREADS", "value": "16"}),
    "replicas are the autoscaler's": lambda r: one(r, "Deployment")["spec"].update(replicas=3),
    "rolls by": lambda r: one(r, "Deployment")["spec"].update(strategy={"type": "Recreate"}),
    "spread over": lambda r: pod(r)["topologySpreadConstraints"].pop(),
    "no account of its own": without("ServiceAccount"),
    "0 autoscalers": without("HorizontalPodAutoscaler"),
    "scaled by []": lambda r: one(r, "HorizontalPodAutoscaler")["spec"]["metrics"].pop(0),
    "one replica is none": lambda r: one(r, "HorizontalPodAutoscaler")["spec"].update(minReplicas=1),
    "0 disruption budgets": lambda r: one(r, "PodDisruptionBudget")["spec"].update(selector={}),
    "no network policy": without("NetworkPolicy"),
    "anybody may come in": lambda r: one(r, "NetworkPolicy")["spec"]["ingress"].append({"ports": [{"port": 8000}]}),
    "may call anybody": lambda r: one(r, "NetworkPolicy")["spec"]["egress"].append({}),
    "services {'totalvi-serve-grpc'}": lambda r: service(r, "totalvi-serve").update(selector={"app": "other"}),
    "totalvi-serve: ports": lambda r: service(r, "totalvi-serve")["ports"][0].update(port=80),
    "no headless service": lambda r: service(r, "totalvi-serve-grpc").pop("clusterIP"),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_rule_is_told(complaint: str) -> None:
    resources = rendered("cpu")
    BROKEN[complaint](resources)
    assert [told for told in complaints(resources) if complaint in told], complaints(resources)


def test_a_gpu_without_its_gpu() -> None:
    resources = rendered("gpu")
    del container(resources)["resources"]["limits"]["nvidia.com/gpu"]
    assert [told for told in complaints(resources) if "0 GPUs for cuda" in told]


def test_a_runtime_of_kserve_is_held_to_the_same() -> None:
    resources = rendered("kserve")
    one(resources, "InferenceService")["spec"]["predictor"]["terminationGracePeriodSeconds"] = 30
    runtime = one(resources, "ServingRuntime")["spec"]["containers"][0]
    runtime["image"] = "totalvi-serve"
    runtime["args"].remove("--host=0.0.0.0")
    told = "\n".join(complaints(resources))
    assert "is not pinned" in told
    assert "listens on 127.0.0.1" in told
    assert "is killed after 30 s" in told


@pytest.mark.parametrize("name", NAMES)
def test_what_the_defaults_leave_to_a_cluster_is_said_there(name: str) -> None:
    """The drain's delay is longer than the default, which suits a proxy that asks each second."""
    resources = rendered(name)
    [only] = pods(resources)
    chosen = settings(only, resources).drain
    assert chosen.drain_delay_s > DrainSettings().drain_delay_s
    assert chosen.drain_timeout_s == DrainSettings().drain_timeout_s
