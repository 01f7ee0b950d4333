"""Our own rules for what is deployed, beside Kubernetes' schemas: each complaint is one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from service import lifecycle
from service.settings import Settings, SettingsError
from tests.deploy.pods import Pod, pods, settings, variables
from tests.deploy.quantities import quantity
from tests.deploy.rendering import Resource

MIB = 1 << 20

LAST_WORDS_S = lifecycle.LAST_WORDS_S + 1
"""What a drain may take beyond its delay and its timeout: the callers' last words, and the operators' port."""
GRACE_MARGIN_S = 5
"""Of a grace period: a kubelet that is busy."""
PROPAGATION_S = 5
"""What a cluster may take to send no more calls to a replica that is not ready."""
STARTUP_S = 120
"""What loading and warming must be given at least."""
AT_REST_BYTES = 700 * MIB
"""The process with torch (435 MiB at rest, docs/reliability.md) and some models."""
PROBES = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
PORTS = {"http": 8000, "grpc": 8001, "ops": 8002}
PINNED = re.compile(r"[^@\s]+(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]*)")


def complaints(resources: list[Resource]) -> list[str]:
    """All that breaks a rule."""
    found = list(_of_pods(resources))
    if any(resource["kind"] == "Deployment" for resource in resources):
        found += _of_surroundings(resources)
    return found


def _of_pods(resources: list[Resource]) -> Iterator[str]:
    for pod in pods(resources):
        for complaint in _of_pod(pod, resources):
            yield f"{pod.maker}: {complaint}"


def _of_pod(pod: Pod, resources: list[Resource]) -> Iterator[str]:
    spec, context = pod.spec, pod.spec.get("securityContext", {})
    yield from _unless(context.get("runAsNonRoot") is True, "runAsNonRoot is not set")
    yield from _unless(context.get("runAsUser", 0) > 0, "runs as root")
    yield from _unless(context.get("seccompProfile") == {"type": "RuntimeDefault"}, "no seccomp profile")
    yield from _unless(spec.get("automountServiceAccountToken") is False, "is given a token of the cluster's")
    yield from _unless(spec.get("enableServiceLinks") is False, "is given variables of services")
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        yield from _unless(not spec.get(name), name)
    for volume in spec.get("volumes", ()):
        yield from _unless("hostPath" not in volume, f"volume {volume['name']} is the host's")
        if "emptyDir" in volume:
            yield from _unless("sizeLimit" in volume["emptyDir"], f"volume {volume['name']} may fill the node")
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        for complaint in _of_container(pod, container):
            yield f"{container['name']}: {complaint}"
    for container in spec.get("initContainers", ()):
        ours = [name for name in variables(pod, container, resources) if name.startswith("TOTALVI_")]
        yield from _unless(not ours, f"{container['name']}: {ours} are settings of the server")
    yield from _of_server(pod, resources)


def _of_container(pod: Pod, container: dict[str, Any]) -> Iterator[str]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    yield from _unless(PINNED.fullmatch(container["image"]) is not None, f"image {container['image']} is not pinned")
    yield from _unless(context.get("allowPrivilegeEscalation") is False, "may become more than it is")
    yield from _unless(context.get("readOnlyRootFilesystem") is True, "may write to its root")
    yield from _unless(context.get("capabilities") == {"drop": ["ALL"]}, "keeps capabilities")
    yield from _unless(not context.get("privileged"), "is privileged")
    yield from _unless(context.get("runAsUser", 1) > 0, "runs as root")
    for kind in ("requests", "limits"):
        for name in ("cpu", "memory"):
            yield from _unless(name in resources.get(kind, {}), f"no {kind}.{name}")
    memory = [resources.get(kind, {}).get("memory") for kind in ("requests", "limits")]
    yield from _unless(memory[0] == memory[1], "may be evicted: it requests less memory than it may use")
    mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
    unknown = mounted - {volume["name"] for volume in pod.spec.get("volumes", ())}
    yield from _unless(not unknown, f"mounts {unknown}, which are not there")


def _of_server(pod: Pod, resources: list[Resource]) -> Iterator[str]:
    server = pod.server
    ports = {port["name"]: port["containerPort"] for port in server.get("ports", ())}
    yield from _unless(sorted(ports.values()) == sorted(PORTS.values()), f"ports {ports}")
    for name, path in PROBES.items():
        asked = server.get(name, {}).get("httpGet", {})
        yield from _unless(
            asked.get("path") == path and ports.get(asked.get("port"), asked.get("port")) == PORTS["ops"],
            f"{name} does not ask {path} on the operators' port",
        )
    yield from _unless(_patience_s(server, "startupProbe") >= STARTUP_S, "too little time to load the models")
    mounts = [mount for mount in server.get("volumeMounts", ()) if mount["name"] in ("models", "list")]
    yield from _unless(all(mount.get("readOnly") for mount in mounts), "may write to the models")
    try:
        chosen = settings(pod, resources)
    except SettingsError as error:
        yield f"would not start: {error}"
        return
    yield from _unless(chosen.listen.host == "0.0.0.0", f"listens on {chosen.listen.host}")
    listened = {chosen.listen.http_port, chosen.listen.grpc_port, chosen.listen.admin_port}
    yield from _unless(listened == set(PORTS.values()), f"listens on {listened}")
    yield from _of_drain(pod, chosen)
    yield from _of_memory(server, chosen)
    yield from _of_device(server, chosen)


def _of_drain(pod: Pod, chosen: Settings) -> Iterator[str]:
    delay_s, timeout_s = chosen.drain.drain_delay_s, chosen.drain.drain_timeout_s
    hook = pod.server.get("lifecycle", {}).get("preStop")
    hook_s = 0 if hook is None else hook.get("sleep", {}).get("seconds", float("inf"))
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    needed_s = hook_s + delay_s + timeout_s + LAST_WORDS_S + GRACE_MARGIN_S
    yield from _unless(
        grace_s >= needed_s, f"is killed after {grace_s} s: hook {hook_s:g}, delay {delay_s:g}, timeout {timeout_s:g}"
    )
    noticed_s = _patience_s(pod.server, "readinessProbe") + PROPAGATION_S
    yield from _unless(
        hook_s + delay_s >= noticed_s, f"serves on for {hook_s + delay_s:g} s; to be noticed takes {noticed_s:g} s"
    )


def _of_memory(server: dict[str, Any], chosen: Settings) -> Iterator[str]:
    """docs/reliability.md, Memory: (1 + 1.1) x B + 4 x min(T x R, B) + 2 x Q, beside what there is at rest."""
    limits = chosen.limits
    body, threads = limits.max_inflight_bytes, 32  # at most, and as many on a node of 28 cores or more
    working = 2.1 * body + 4 * min(threads * limits.max_request_bytes, body) + 2 * limits.max_queue_bytes
    memory = int(quantity(server.get("resources", {}).get("limits", {}).get("memory", "1024Gi")))
    yield from _unless(
        memory >= working + AT_REST_BYTES,
        f"{memory / MIB:.0f} MiB, where its settings need {(working + AT_REST_BYTES) / MIB:.0f}",
    )


def _of_device(server: dict[str, Any], chosen: Settings) -> Iterator[str]:
    limits = server.get("resources", {}).get("limits", {})
    n_gpus = int(limits.get("nvidia.com/gpu", 0))
    yield from _unless(n_gpus == (chosen.device.device == "cuda"), f"{n_gpus} GPUs for {chosen.device.device}")
    yield from _unless(("cuda" in server["image"]) == bool(n_gpus), f"image {server['image']} with {n_gpus} GPUs")
    yield from _unless(
        chosen.device.threads == -(-quantity(limits.get("cpu", chosen.device.threads)) // 1),
        f"{chosen.device.threads} threads",
    )


def _of_surroundings(resources: list[Resource]) -> Iterator[str]:
    by_kind: Callable[[str], list[Resource]] = lambda kind: [r for r in resources if r["kind"] == kind]  # noqa: E731
    accounts = {account["metadata"]["name"] for account in by_kind("ServiceAccount")}
    for deployment, pod in zip(by_kind("Deployment"), pods(by_kind("Deployment")), strict=True):
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        chooses: Callable[[dict[str, str]], bool] = lambda labels: bool(labels) and labels.items() <= pod.labels.items()  # noqa: E731, B023

        yield from _unless("replicas" not in spec, f"{name}: replicas are the autoscaler's to say")
        rolling = spec.get("strategy", {}).get("rollingUpdate", {})
        has_gpu = "nvidia.com/gpu" in pod.server.get("resources", {}).get("limits", {})
        wanted = {"maxSurge": 0, "maxUnavailable": 1} if has_gpu else {"maxSurge": 1, "maxUnavailable": 0}
        yield from _unless(rolling == wanted, f"{name}: rolls by {rolling}")
        spread = pod.spec.get("topologySpreadConstraints", [])
        over = {
            constraint["topologyKey"] for constraint in spread if chooses(constraint["labelSelector"]["matchLabels"])
        }
        yield from _unless(
            over == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, f"{name}: spread over {over}"
        )
        yield from _unless(pod.spec.get("serviceAccountName") in accounts, f"{name}: no account of its own")

        scalers = [r for r in by_kind("HorizontalPodAutoscaler") if r["spec"]["scaleTargetRef"]["name"] == name]
        yield from _unless(len(scalers) == 1, f"{name}: {len(scalers)} autoscalers")
        for scaler in scalers:
            metrics = [m["pods"]["metric"]["name"] for m in scaler["spec"]["metrics"] if m["type"] == "Pods"]
            yield from _unless(metrics == ["totalvi_queue_ratio"], f"{name}: scaled by {metrics}")
            yield from _unless(
                scaler["spec"].get("minReplicas", 1) >= 2, f"{name}: one replica is none when it restarts"
            )
        budgets = [r for r in by_kind("PodDisruptionBudget") if chooses(r["spec"]["selector"].get("matchLabels", {}))]
        yield from _unless(len(budgets) == 1, f"{name}: {len(budgets)} disruption budgets")
        policies = [r for r in by_kind("NetworkPolicy") if chooses(r["spec"]["podSelector"].get("matchLabels", {}))]
        both = [r for r in policies if set(r["spec"]["policyTypes"]) == {"Ingress", "Egress"}]
        yield from _unless(bool(both), f"{name}: no network policy")
        for policy in policies:
            open_doors = [rule for rule in policy["spec"].get("ingress", ()) if not rule.get("from")]
            yield from _unless(not open_doors, f"{name}: anybody may come in")
            unbounded = [rule for rule in policy["spec"].get("egress", ()) if not rule.get("ports")]
            yield from _unless(not unbounded, f"{name}: may call anybody")

        ports = {port["name"]: port["containerPort"] for port in pod.server["ports"]}
        yield from _unless(ports == PORTS, f"{name}: ports {ports}")
        services = {
            r["metadata"]["name"]: r["spec"] for r in by_kind("Service") if chooses(r["spec"].get("selector", {}))
        }
        yield from _unless(
            {"totalvi-serve", "totalvi-serve-grpc"} <= services.keys(), f"{name}: services {set(services)}"
        )
        for service, of in services.items():
            offered = {port["name"]: port["port"] for port in of["ports"]}
            yield from _unless(offered.items() <= PORTS.items(), f"{service}: ports {offered}")
        yield from _unless(
            services.get("totalvi-serve-grpc", {}).get("clusterIP") == "None", f"{name}: no headless service for gRPC"
        )


def _patience_s(container: dict[str, Any], probe: str) -> int:
    """How long a probe may fail until it counts."""
    asked = container.get(probe, {})
    return int(asked.get("periodSeconds", 10) * asked.get("failureThreshold", 3))


def _unless(holds: bool, complaint: str) -> Iterator[str]:
    if not holds:
        yield complaint
