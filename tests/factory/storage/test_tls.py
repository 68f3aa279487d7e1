"""A server whose certificate nobody vouches for gets no keys, and the remedy is named."""

import datetime
import http.server
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from factory.errors import StorageRefused
from factory.storage.open import open_store


@pytest.fixture
def own_certificate(tmp_path):
    """A key and a certificate that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "own.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return file


@pytest.fixture
def heard(own_certificate, monkeypatch):
    """What a server behind that certificate is told."""
    told = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told.append(dict(self.headers))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    yield told
    server.shutdown()
    server.server_close()


def test_a_certificate_that_is_not_trusted_is_refused_with_its_remedy(heard):
    with pytest.raises(StorageRefused, match="certificate is not trusted; set AWS_CA_BUNDLE"):
        open_store("s3://bucket/run").get("RUN.json")
    assert heard == []
