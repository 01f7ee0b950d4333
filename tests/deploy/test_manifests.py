"""Every overlay renders, and each of its resources is what the schema of its kind allows, unknown fields refused."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.custom_resources import as_pods, schema
from tests.deploy.policy import complaints
from tests.deploy.rendering import NAMES, OVERLAYS, ROOT, Resource, needs_kubectl, one, rendered, rendered_folder

OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes; 1.30 is the first with the autoscaler's ContainerResource for good."""

PAGE = (ROOT / "docs" / "deploy.md").read_text()

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
    assert {"cpu", "gpu", "gateway", "kserve", "models-from-s3"} <= set(NAMES)
    assert [name for name in NAMES if f"deploy/overlays/{name}`" not in PAGE] == []


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

    templates = [
        one(r, "Deployment")["spec"]["template"] for r in (rendered("cpu"), rendered_folder(copy / "overlays" / "cpu"))
    ]
    assert templates[0] != templates[1]


def kustomizations() -> dict[str, str]:
    """Those that docs/deploy.md tells to write, by their folder."""
    blocks = re.findall(r"```yaml\n# ([\w-]+)/kustomization\.yaml.*\n([^`]+)```", PAGE)
    return dict(blocks)


@pytest.mark.parametrize("folder", kustomizations())
def test_a_kustomization_of_the_page(folder: str, tmp_path: Path) -> None:
    """It renders, fits the schemas and obeys our rules."""
    (tmp_path / "deploy").symlink_to(OVERLAYS.parent)
    mine = tmp_path / folder
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(kustomizations()[folder])
    (mine / "models.sha256").write_text("0" * 64 + "  mine/1/encoder.pt\n")
    resources = rendered_folder(mine)
    for resource in resources:
        check(resource, NEWEST)
        assert resource["metadata"]["namespace"] == "totalvi"
    assert complaints(resources) == []


def test_the_kustomizations_do_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(OVERLAYS.parent)
    pods = {}
    for folder, text in kustomizations().items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kustomization.yaml").write_text(text)
        (tmp_path / folder / "models.sha256").write_text("0" * 64 + "  mine/1/encoder.pt\n")
        pods[folder] = one(rendered_folder(tmp_path / folder), "Deployment")["spec"]["template"]["spec"]
    assert pods["mine"]["containers"][0]["image"] == "registry.mycompany.example/totalvi-serve:0.1.0-cuda"
    assert pods["mine"]["initContainers"][0]["name"] == "fetch-models"
    assert pods["laptop"]["containers"][0]["image"] == "docker.io/library/totalvi-serve:0.1.0"
    assert pods["mine-from-s3"]["initContainers"][0]["env"][0] == {
        "name": "MODELS_URI",
        "value": "s3://my-bucket/totalvi",
    }
    assert "TOTALVI_TOKENS_FILE" in {variable["name"] for variable in pods["with-tokens"]["containers"][0]["env"]}


def test_the_pages_other_resources_are_what_their_kinds_allow() -> None:
    [text] = re.findall(r"```yaml\n# laptop/models\.yaml\n([^`]+)```", PAGE)
    for resource in yaml.safe_load_all(text):
        check(resource, NEWEST)
