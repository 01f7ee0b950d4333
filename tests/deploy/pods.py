"""The pods that rendered resources would make, and the settings that the server in each would have."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from service.settings import Settings, add_flags
from tests.deploy.quantities import quantity
from tests.deploy.rendering import Resource

SERVERS = ("totalvi-serve", "kserve-container")
"""What the server's container is called."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod's template: what makes it, its labels and its spec."""

    maker: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def server(self) -> dict[str, Any]:
        """The container of totalvi-serve."""
        [found] = [container for container in self.spec["containers"] if container["name"] in SERVERS]
        return found


def pods(resources: list[Resource]) -> Iterator[Pod]:
    """Of each Deployment, and of each InferenceService with its ServingRuntime, whose lists KServe puts together."""
    runtimes = {r["metadata"]["name"]: r["spec"] for r in resources if r["kind"] == "ServingRuntime"}
    for resource in resources:
        name = resource["metadata"]["name"]
        if resource["kind"] == "Deployment":
            template = resource["spec"]["template"]
            yield Pod(f"Deployment {name}", template["metadata"]["labels"], template["spec"])
        elif resource["kind"] == "InferenceService":
            predictor = resource["spec"]["predictor"]
            yield Pod(f"InferenceService {name}", {}, runtimes[predictor["model"]["runtime"]] | predictor)


def variables(pod: Pod, container: dict[str, Any], resources: list[Resource]) -> dict[str, str]:
    """The container's environment, as Kubernetes would make it of these resources."""
    maps = {r["metadata"]["name"]: r["data"] for r in resources if r["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    if pod.spec.get("enableServiceLinks", True):
        for service in (r for r in resources if r["kind"] == "Service" and r["spec"].get("clusterIP") != "None"):
            prefix = service["metadata"]["name"].upper().replace("-", "_")
            found[f"{prefix}_SERVICE_HOST"] = "10.0.0.1"
            found[f"{prefix}_PORT"] = f"tcp://10.0.0.1:{service['spec']['ports'][0]['port']}"
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            resource = variable["valueFrom"]["resourceFieldRef"]["resource"]
            kind, _, of = resource.partition(".")
            found[variable["name"]] = str(math.ceil(quantity(container["resources"][kind][of])))
    return found


def settings(pod: Pod, resources: list[Resource]) -> Settings:
    """What the server of a pod would run with.

    Raises:
        SettingsError: it would refuse to start.
    """
    command, *flags = pod.server["args"]
    assert command == "run"
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return Settings.from_args(parser.parse_args(flags), variables(pod, pod.server, resources))
