import pytest
from starlette.datastructures import Headers

from service.core.errors import ErrorKind, ServiceError
from service.rest.headers import JSON, MEDIA_TYPES, PROTOBUF, accepts_gzip, answer_type, body_type, holds


@pytest.mark.parametrize(
    ("given", "media_type"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/x-protobuf", PROTOBUF),
        (' APPLICATION/X-PROTOBUF ;messageType="totalvi.v1.EncodeRequest"', PROTOBUF),
    ],
)
def test_types_of_bodies(given: str, media_type: str) -> None:
    assert body_type(Headers({"content-type": given})) == media_type


@pytest.mark.parametrize("given", [None, "", "*/*", "application/*", "application/protobuf", "application/grpc"])
def test_other_types_of_bodies_are_unsupported(given: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        body_type(Headers({} if given is None else {"content-type": given}))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert all(media_type in caught.value.detail for media_type in MEDIA_TYPES)


def accepting(*values: str) -> Headers:
    return Headers(raw=[(b"accept", value.encode()) for value in values])


@pytest.mark.parametrize(
    "accept",
    [
        (),
        ("",),
        (" , ",),
        ("*/*",),
        ("application/*",),
        ("*/*;q=0.1",),
        ("text/html, */*;q=0.1",),
        ("text/html", "*/*;q=0.1"),
        ("application/json, application/x-protobuf",),
        ("application/json;q=0.4, application/x-protobuf; q=0.40",),
        ("application/json, */*",),
        ("*/*;q=0, application/*;q=0.001",),
        ("application/*;q=much",),
    ],
)
@pytest.mark.parametrize("own", MEDIA_TYPES)
def test_what_accepts_both_alike_gets_the_type_of_its_request(accept: tuple[str, ...], own: str) -> None:
    assert answer_type(accepting(*accept), own) == own


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/json", JSON),
        ("application/x-protobuf", PROTOBUF),
        ("Application/X-Protobuf;V=1 ; Q=0.5", PROTOBUF),
        ("application/json;q=0.9, application/x-protobuf", PROTOBUF),
        ("application/json;q=0.999, application/x-protobuf;q=0.998", JSON),
        ("application/*;q=0.5, application/json", JSON),
        ("*/*;q=0.9, application/*;q=0.8, application/x-protobuf;q=0.7", JSON),
        ("*/*, application/json;q=0", PROTOBUF),
        ("*/*, application/json;q=0.0000", PROTOBUF),
        ("application/json;q=0.5, */*", PROTOBUF),
        ("text/html, application/json;q=0.001", JSON),
        ("application/json;q=0.5, application/x-protobuf;q=nan", PROTOBUF),
    ],
)
@pytest.mark.parametrize("own", MEDIA_TYPES)
def test_what_accept_likes_better_is_answered_whatever_was_sent(accept: str, media_type: str, own: str) -> None:
    assert answer_type(accepting(accept), own) == media_type
    assert answer_type(accepting(*accept.split(",")), own) == media_type


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "text/*",
        "application/protobuf",
        "application/problem+json",
        "*/*;q=0",
        "*/*, application/*;q=0",
        "*/*, application/json;q=0, application/x-protobuf;q=0.0",
    ],
)
@pytest.mark.parametrize("own", MEDIA_TYPES)
def test_what_accept_rules_out_is_unsupported(accept: str, own: str) -> None:
    with pytest.raises(ServiceError) as caught:
        answer_type(accepting(accept), own)
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert all(media_type in caught.value.detail for media_type in MEDIA_TYPES)


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ((), False),
        (("",), False),
        (("gzip",), True),
        (("x-gzip",), True),
        (("GZIP ; q=0.5",), True),
        (("br, gzip;q=1.0, *;q=0.5",), True),
        (("br", "gzip"), True),
        (("*",), True),
        (("gzip;q=0",), False),
        (("gzip;q=0.000, *",), False),
        (("*;q=0",), False),
        (("br, zstd, deflate",), False),
        (("identity",), False),
        (("identity;q=0.5, gzip;q=0.4",), False),
        (("identity;q=0.5, gzip;q=0.5",), True),
        (("identity;q=0",), False),
        (("gzip, identity;q=0",), True),
        (("gzipped",), False),
    ],
)
def test_who_accepts_gzip(given: tuple[str, ...], accepted: bool) -> None:
    assert accepts_gzip(Headers(raw=[(b"accept-encoding", value.encode()) for value in given])) is accepted


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ((), False),
        (("",), False),
        (('"a"',), True),
        (('W/"a"',), True),
        (('"b", "a"',), True),
        (('"b"', '"a"'), True),
        (("*",), True),
        (("a",), False),
        (('"a-gzip"',), False),
    ],
)
def test_what_a_caller_holds(given: tuple[str, ...], held: bool) -> None:
    assert holds(Headers(raw=[(b"if-none-match", value.encode()) for value in given]), '"a"') is held
