"""How the tests of the v1 routes call them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from service.core.errors import ErrorKind

CONTENT = json.dumps({"gene_counts": [[1, 2], [3, 4]], "cells": ["a", "b"]}).encode()
PATH = "/v1/encode"
VALIDATE = "/v1/validate"


async def post(client: httpx.AsyncClient, path: str = PATH, content: Any = CONTENT, **headers: str) -> httpx.Response:
    """Post a body, as JSON if the headers do not say otherwise."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, content=content, headers={"content-type": "application/json"} | named)


def assert_problem(answer: httpx.Response, kind: ErrorKind, status: int) -> dict[str, Any]:
    """The answer is a problem of that kind; its body is returned."""
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, kind.value)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body
