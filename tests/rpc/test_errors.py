from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.core.errors import ErrorKind, ServiceError
from service.rpc.errors import DOMAIN, STATUS_CODES, rich_status


def detail_of(status: status_pb2.Status, kind):
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            return message
    return None


def test_every_kind_has_a_code():
    assert set(STATUS_CODES) == set(ErrorKind)
    assert grpc.StatusCode.OK not in STATUS_CODES.values()
    assert grpc.StatusCode.UNKNOWN not in STATUS_CODES.values()


@pytest.mark.parametrize("kind", ErrorKind)
def test_reason_is_the_machine_code_and_the_request_id_is_told(kind):
    status = rich_status(ServiceError(kind, "what is wrong"), "id-1")

    assert status.code == STATUS_CODES[kind].value[0]
    assert status.message == "what is wrong"
    info = detail_of(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.value, DOMAIN, {})
    assert detail_of(status, error_details_pb2.RequestInfo).request_id == "id-1"
    assert detail_of(status, error_details_pb2.BadRequest) is None
    assert detail_of(status, error_details_pb2.RetryInfo) is None


def test_field_index_and_counts_are_told():
    error = ServiceError(ErrorKind.INVALID, "is negative", field="gene_counts", index=0, counts={"offenders": 3})

    status = rich_status(error, "id-1")

    metadata = detail_of(status, error_details_pb2.ErrorInfo).metadata
    assert dict(metadata) == {"field": "gene_counts", "index": "0", "offenders": "3"}
    (violation,) = detail_of(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("gene_counts", "is negative")


def test_retry_delay_is_told_to_the_millisecond_never_early():
    status = rich_status(ServiceError(ErrorKind.OVERLOADED, "full", retry_after_s=1.2501), "id-1")

    assert detail_of(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 1251


@pytest.mark.parametrize("text", ["a" * 5000, "é" * 5000, "x" + "🧬" * 5000, "\ud800" * 5000])
def test_long_texts_are_cut_between_characters(text):
    status = rich_status(ServiceError(ErrorKind.INVALID, text, field=text), "id-1")

    assert status.message.endswith("…")
    assert 1000 < len(status.message.encode()) <= 1024
    assert "\ufffd" not in status.message
    assert len(detail_of(status, error_details_pb2.ErrorInfo).metadata["field"].encode()) <= 256
