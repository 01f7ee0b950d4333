import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.core.errors import ErrorKind
from service.core.messages import Coverage, EncodeRequest, Limits, Output, ValidationReport
from service.rest.app import build_app
from service.rest.errors import HTTP_STATUS
from service.rest.headers import MEDIA_TYPES, PROTOBUF
from service.rest.json_codec import decode_request
from service.rest.schemas import EncodeBody, EncodeOptions
from tests.saves import ROOT

from .fake_engine import FakeEngine

PROTO = (ROOT / "proto" / "totalvi_v1.proto").read_text()
INFER_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/InferError"}}}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture
def document() -> dict[str, Any]:
    return build_app(FakeEngine()).openapi()


@pytest.fixture
def v1(document: dict[str, Any]) -> dict[str, Any]:
    """Our own paths."""
    return {path: item for path, item in document["paths"].items() if path.startswith("/v1/")}


@pytest.fixture
def v2(document: dict[str, Any]) -> dict[str, Any]:
    """The Open Inference Protocol's."""
    return {path: item for path, item in document["paths"].items() if path.startswith("/v2")}


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    for reference in references(document):
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind], reference
    names = {reference.rpartition("/")[2] for reference in references(document)}
    assert {"EncodeBody", "CsrRows", "Problem", "EncodeAnswer", "Card"} <= names


def test_every_path_is_one_of_ours_or_of_the_protocol(
    document: dict[str, Any], v1: dict[str, Any], v2: dict[str, Any]
) -> None:
    assert document["paths"].keys() == v1.keys() | v2.keys()


def test_every_route_documents_its_errors(v1: dict[str, Any]) -> None:
    assert len(v1) == 11
    for path, operations in v1.items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert responses["500"]["content"] == responses["default"]["content"] == PROBLEM, path
            assert "application/json" in responses["200"]["content"]
            if method == "post":
                # A check does not ask the queue.
                never = {ErrorKind.CANCELLED} | ({ErrorKind.OVERLOADED} if path.endswith("/validate") else set())
                expected = {str(status) for kind, (status, _) in HTTP_STATUS.items() if kind not in never}
                assert responses.keys() == expected | {"200", "default"}
                assert all(responses[status]["content"] == PROBLEM for status in expected)
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/EncodeBody"}


def test_the_protocol_has_errors_of_its_own(v2: dict[str, Any]) -> None:
    for path, operations in v2.items():
        for operation in operations.values():
            responses = operation["responses"]
            assert "application/json" in responses["200"]["content"]
            if not path.startswith("/v2/health/"):
                assert "422" not in responses
                errors = [response for status, response in responses.items() if status != "200"]
                assert len(errors) > 2 and all(error["content"] == INFER_ERROR for error in errors)


def test_what_takes_cells_takes_and_answers_messages(v1: dict[str, Any]) -> None:
    for path, operations in v1.items():
        if (operation := operations.get("post")) is None:
            continue
        answered = "EncodeResponse" if path.endswith("/encode") else "ValidateResponse"
        said = {"EncodeRequest": operation["requestBody"], answered: operation["responses"]["200"]}
        for name, body in said.items():
            assert tuple(body["content"]) == MEDIA_TYPES
            schema = body["content"][PROTOBUF]["schema"]
            assert (schema["type"], schema["format"]) == ("string", "binary")
            assert f"`totalvi.v1.{name}` of `proto/totalvi_v1.proto`" in schema["description"]
            assert f"message {name} {{" in PROTO


def test_operations_have_names(document: dict[str, Any], v1: dict[str, Any]) -> None:
    everywhere = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(everywhere) == len(set(everywhere))
    names = [operation["operationId"] for item in v1.values() for operation in item.values()]
    assert sorted(names) == [
        "encode",
        "encode_with_model",
        "encode_with_version",
        "get_limits",
        "get_model",
        "get_model_version",
        "get_stats",
        "list_models",
        "validate",
        "validate_with_model",
        "validate_with_version",
    ]


def test_validation_takes_what_encode_takes_and_answers_the_report(document: dict[str, Any]) -> None:
    for path in ("/v1/{}", "/v1/models/{{model}}/{}", "/v1/models/{{model}}/versions/{{version}}/{}"):
        encode, validate = (document["paths"][path.format(name)]["post"] for name in ("encode", "validate"))
        for part in ("requestBody", "parameters"):
            assert validate[part] == encode[part]
        answered = validate["responses"]["200"]["content"]["application/json"]["schema"]
        assert answered == {"$ref": "#/components/schemas/ValidateAnswer"}
    schemas = document["components"]["schemas"]
    for name, core in (("ValidateAnswer", ValidationReport), ("ColumnCoverage", Coverage)):
        assert schemas[name]["required"] == [field.name for field in dataclasses.fields(core)]


def test_the_file_in_docs_is_what_the_server_answers(document: dict[str, Any]) -> None:
    assert json.loads((ROOT / "docs" / "openapi.json").read_text()) == document


def test_the_document_is_built_the_same_twice() -> None:
    app = build_app(FakeEngine())
    assert app.openapi() == app.openapi() == build_app(FakeEngine()).openapi()


def test_the_example_is_a_good_request() -> None:
    example = EncodeBody.model_config["json_schema_extra"]["example"]
    assert decode_request(json.dumps(example).encode(), Limits()).n_cells == 2


def test_defaults_and_outputs_are_those_of_the_core() -> None:
    core = {name: field.default for name, field in EncodeRequest.__dataclass_fields__.items()}
    assert dict(EncodeOptions()) == {name: core[name] for name in EncodeOptions.model_fields}
    assert set(EncodeBody.model_fields) == set(core)
    assert set(EncodeBody.model_json_schema()["properties"]["outputs"]["anyOf"][0]["items"]["enum"]) == {
        output.value for output in Output
    }


def test_every_answer_documents_its_headers(v1: dict[str, Any]) -> None:
    for path, operations in v1.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                expected = {"X-Request-Id"}
                if method == "post":
                    expected |= {"Server-Timing", "traceresponse"}
                if status == "401":
                    expected.add("WWW-Authenticate")
                if status in ("429", "503"):
                    expected.add("Retry-After")
                if status in ("200", "304") and "{model}" in path and method == "get":
                    expected.add("ETag")
                assert response["headers"].keys() == expected, (path, status)
            assert ("304" in operation["responses"]) == (method == "get" and "{model}" in path)


def test_the_protocol_answers_our_headers(v2: dict[str, Any]) -> None:
    for path, operations in v2.items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                expected = {"X-Request-Id"}
                if path.endswith("/infer"):
                    expected |= {"Server-Timing", "traceresponse"}
                    if status == "200":
                        expected.add("Inference-Header-Content-Length")
                if status == "401":
                    expected.add("WWW-Authenticate")
                if status in ("429", "503") and not path.startswith("/v2/health/"):
                    expected.add("Retry-After")
                assert response["headers"].keys() == expected, (path, status)


def test_the_first_cell_is_bounded_as_in_the_core() -> None:
    bounds = EncodeBody.model_json_schema()["properties"]["first_cell"]
    assert (bounds["minimum"], bounds["maximum"]) == (0, 2**63 - 1)


def test_fractions_alone_are_said_to_be_taken() -> None:
    said = EncodeBody.model_json_schema()["properties"]["allow_non_integer"]["description"]
    assert "log-normalised" in said and "Fractions alone are a warning." in said


async def test_docs_are_served() -> None:
    transport = httpx.ASGITransport(build_app(FakeEngine()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/docs")).status_code == 200
        assert (await client.get("/openapi.json")).status_code == 200
