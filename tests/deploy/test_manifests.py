"""Every overlay renders, and each of its resources is what the schema of its kind allows, unknown fields refused."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.custom_resources import as_pods, schema
from tests.deploy.rendering import NAMES, OVERLAYS, ROOT, Resource, needs_kubectl, one, rendered, rendered_folder

OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes; 1.30 is the first with the autoscaler's ContainerResource for good."""

pytestmark = needs_kubectl


def check(resource: Resource, version: str) -> None:
    """Raise `ValidationError` if it is not what its kind allows, unknown fields included."""
    ours = schema(resource)
    if ours is None:
        kubernetes_validate.validate(resource, version, strict=True)
        return
    jsonschema.Draft202012Validator(ours).validate(resource)
    for pod in as_pods(resource):
        kubernetes_validate.validate(pod, version, strict=True)


def test_the_overlays_are_those_that_are_told_of() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert {"cpu", "gpu", "gateway", "kserve", "models-from-s3"} <= set(NAMES)
    assert [name for name in NAMES if f"deploy/overlays/{name}" not in page] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", NAMES)
def test_each_resource_is_what_its_kind_allows(name: str, version: str) -> None:
    resources = rendered(name)
    assert resources
    for resource in resources:
        check(resource, version)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_resources_are_one(name: str) -> None:
    ids = [(r["apiVersion"], r["kind"], r["metadata"]["name"]) for r in rendered(name)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("overlay", "kind", "path"),
    [
        ("cpu", "Deployment", "spec.template.spec.terminationGracePeriod"),
        ("cpu", "HorizontalPodAutoscaler", "spec.minReplica"),
        ("gateway", "HTTPRoute", "spec.hostname"),
        ("gateway", "GRPCRoute", "spec.parentRef"),
        ("gateway", "Gateway", "spec.listener"),
        ("kserve", "ServingRuntime", "spec.container"),
        ("kserve", "ServingRuntime", "spec.containers.0.imagePullPolice"),
        ("kserve", "InferenceService", "spec.predictor.model.storageURI"),
        ("kserve", "InferenceService", "spec.predictor.enableServiceLink"),
    ],
)
def test_a_misspelt_field_is_refused(overlay: str, kind: str, path: str) -> None:
    resource = one(rendered(overlay), kind, None if kind != "Gateway" else "totalvi-serve")
    *steps, last = path.split(".")
    at = resource
    for step in steps:
        at = at[int(step)] if step.isdigit() else at[step]
    at[last] = 1
    with pytest.raises(jsonschema.ValidationError):
        check(resource, NEWEST)


def test_a_changed_setting_is_another_pod(tmp_path: Path) -> None:
    """The ConfigMap is named by its content, and the Deployment names it: a change rolls out."""
    copy = tmp_path / "deploy"
    for file in OVERLAYS.parent.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(OVERLAYS.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    with (copy / "base" / "settings.env").open("a") as settings:
        settings.write("TOTALVI_LOG_LEVEL=warning\n")

    templates = [one(r, "Deployment")["spec"]["template"] for r in (rendered("cpu"), rendered_folder(copy / "overlays" / "cpu"))]
    assert templates[0] != templates[1]


def test_overlays_can_be_put_together(tmp_path: Path) -> None:
    """One of the devices with any of the components, as docs/deploy.md says."""
    deploy = Path("..") / OVERLAYS.parent.relative_to(OVERLAYS.parents[1])
    folder = OVERLAYS.parent / "overlays"
    mine = tmp_path / "mine"
    mine.mkdir()
    link = tmp_path / deploy.name
    link.symlink_to(folder.parent)
    (mine / "kustomization.yaml").write_text(
        "resources: [../deploy/overlays/gpu]\n"
        "components: [../deploy/components/gateway, ../deploy/components/models-from-s3]\n"
    )
    resources = rendered_folder(mine)
    assert one(resources, "HTTPRoute")
    [init] = one(resources, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    assert init["name"] == "fetch-models"
    for resource in resources:
        check(resource, NEWEST)
