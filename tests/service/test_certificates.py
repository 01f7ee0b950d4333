from __future__ import annotations

import datetime
import logging
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.certificate_expiry import expires_s
from service.certificates import MAX_BYTES, CertificateError, Certificates
from tests.certificates import Caller, Files


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    files = Files(tmp_path)
    files.write(ca, clients=ca)
    return files


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake in memory, and one byte back, which TLS 1.3 needs to tell a client that it is refused."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    steps = [theirs.do_handshake, ours.do_handshake, lambda: ours.write(b"x"), lambda: theirs.read(1)]
    while steps:
        waiting = []
        for step in steps:
            try:
                step()
            except ssl.SSLWantReadError:
                waiting.append(step)
        steps = waiting


def test_the_files_make_a_handshake(files: Files, ca: trustme.CA) -> None:
    certificates = Certificates(files.cert, files.key)
    assert not certificates.asks_clients
    shake(certificates.context, Caller(ca).context())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(certificates.context, Caller(trustme.CA()).context())


def test_callers_show_a_certificate_where_a_ca_is_given(files: Files, ca: trustme.CA) -> None:
    certificates = Certificates(files.cert, files.key, files.client_ca)
    assert certificates.asks_clients
    shake(certificates.context, Caller(ca, clients=ca).context())
    for stranger in (Caller(ca), Caller(ca, clients=trustme.CA())):
        with pytest.raises(ssl.SSLError):
            shake(certificates.context, stranger.context())


def test_old_protocols_are_refused(files: Files, ca: trustme.CA) -> None:
    assert Certificates(files.cert, files.key).context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_change_is_taken_up_and_told_once(files: Files, ca: trustme.CA) -> None:
    certificates = Certificates(files.cert, files.key, files.client_ca)
    told: list[str] = []
    certificates.subscribe(lambda: told.append("changed"))
    before = certificates.context
    certificates.refresh()
    assert certificates.context is before
    other = trustme.CA()
    files.write(other, clients=other)
    certificates.refresh()
    certificates.refresh()
    assert told == ["changed"]
    shake(certificates.context, Caller(other, clients=other).context())
    with pytest.raises(ssl.SSLError):
        shake(certificates.context, Caller(other, clients=ca).context())
    # Who was given the old context keeps it as it was.
    shake(before, Caller(ca, clients=ca).context())


def damage(files: Files, ca: trustme.CA, how: str) -> None:
    if how == "another key":
        files.key.write_bytes(ca.issue_cert("x.org").private_key_pem.bytes())
    elif how == "no PEM":
        files.cert.write_text("sesame")
    elif how == "empty":
        files.key.write_text("")
    elif how == "no key":
        files.key.unlink()
    elif how == "no CA":
        files.client_ca.write_text("sesame")
    elif how == "an empty CA":
        files.client_ca.write_text("")
    elif how == "too long":
        files.cert.write_bytes(bytes(MAX_BYTES + 1))
    else:
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        form = serialization.PrivateFormat.PKCS8
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"sesame"))
        )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("another key", "--tls-cert and --tls-key cannot be used together (key values mismatch)"),
        ("no PEM", "--tls-cert and --tls-key cannot be used together"),
        ("empty", "--tls-cert and --tls-key cannot be used together"),
        ("encrypted", "--tls-cert and --tls-key cannot be used together"),
        ("no key", "--tls-key cannot be read (No such file or directory)"),
        ("no CA", "--tls-client-ca cannot be used"),
        ("an empty CA", "--tls-client-ca cannot be used"),
        ("too long", "--tls-cert is over"),
    ],
)
def test_files_that_cannot_be_used(
    files: Files, ca: trustme.CA, how: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files.cert, files.key, files.client_ca)
    before = certificates.identity
    damage(files, ca, how)
    with pytest.raises(CertificateError) as refused:
        Certificates(files.cert, files.key, files.client_ca)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)

    certificates.refresh()
    certificates.refresh()
    assert certificates.identity is before
    shake(certificates.context, Caller(ca, clients=ca).context())
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"{refused.value}; the last good certificates stay in use"
    assert not any(secret in caplog.text for secret in ("sesame", "PRIVATE", str(files.key.parent)))

    files.write(ca, clients=ca)
    certificates.refresh()
    assert certificates.identity is not before


def test_files_that_change_while_they_are_read_are_not_mixed(
    files: Files, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = ssl.SSLContext.load_cert_chain

    def load_while_changed(context: ssl.SSLContext, *paths: Path, **options: object) -> None:
        files.write(ca)
        load(context, *paths, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_while_changed)
    with pytest.raises(CertificateError, match="being changed"):
        Certificates(files.cert, files.key)


def test_nothing_prints_a_key(files: Files) -> None:
    assert repr(Certificates(files.cert, files.key, files.client_ca).identity) == "Identity()"


def test_it_tells_when_the_certificate_ends(files: Files) -> None:
    chain = files.cert.read_bytes()
    own = x509.load_pem_x509_certificate(chain)
    assert Certificates(files.cert, files.key).expires_s() == own.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("year", [2000, 2049, 2050, 2150])
@pytest.mark.parametrize("long_name", [False, True])
def test_the_end_is_read_from_any_certificate(year: int, long_name: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n" * (60 if long_name else 1)) for _ in range(5)])
    end = datetime.datetime(year, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 1 << 150, datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC), end
    ).sign(key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM)
    assert expires_s(b"words before\n" + pem + b"others behind") == end.timestamp()


@pytest.mark.parametrize(
    "chain",
    [b"", b"-----BEGIN CERTIFICATE-----", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_what_is_no_certificate_has_no_end(chain: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        expires_s(chain)
