import json

import pytest
from starlette.exceptions import HTTPException

from service.core.errors import ErrorKind, ServiceError
from service.rest.errors import HTTP_STATUS, documented, problem


def test_every_kind_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)


@pytest.mark.parametrize("kind", ErrorKind)
def test_problem_of_each_kind(kind: ErrorKind) -> None:
    response = problem(ServiceError(kind, "what is wrong"), "id-1")
    status, title = HTTP_STATUS[kind]
    body = json.loads(response.body)
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == body["request_id"] == "id-1"
    assert body["type"] == f"urn:totalvi-serve:error:{kind.value}"
    assert (body["title"], body["code"]) == (title, kind.value)
    assert ("retry-after" in response.headers) == (kind in (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE))
    assert not {"field", "index", "counts"} & body.keys()


def test_problem_points_to_the_offender() -> None:
    error = ServiceError(ErrorKind.INVALID, "ragged", field="gene_counts", index=0, counts={"offenders": 2})
    body = json.loads(problem(error, "id-1").body)
    assert (body["field"], body["index"], body["counts"]) == ("gene_counts", 0, {"offenders": 2})


@pytest.mark.parametrize(
    ("seconds", "header"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (30, "30")]
)
def test_retry_after_is_whole_seconds(seconds: float | None, header: str) -> None:
    error = ServiceError(ErrorKind.OVERLOADED, "full", retry_after_s=seconds)
    assert problem(error, "id-1").headers["retry-after"] == header


@pytest.mark.parametrize(
    "bug", [ValueError("/secret/path 17.5"), KeyError("secret"), ServiceError(ErrorKind.INTERNAL, "secret")]
)
def test_nothing_of_a_bug_leaves(bug: Exception) -> None:
    response = problem(bug, "id-1")
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert json.loads(response.body)["detail"] == "internal error; the log has it under request id id-1"


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (405, "unsupported"), (400, "malformed"), (413, "malformed"), (500, "internal")],
)
def test_what_the_router_refuses(status: int, code: str) -> None:
    error = HTTPException(status, detail="secret", headers={"Allow": "GET"} if status == 405 else None)
    response = problem(error, "id-1")
    body = json.loads(response.body)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers.get("allow") == ("GET" if status == 405 else None)
    assert b"secret" not in response.body


def test_documented_errors() -> None:
    assert list(documented(ErrorKind.MALFORMED, ErrorKind.DEADLINE)) == [400, 504, "default"]
