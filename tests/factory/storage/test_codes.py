"""A store's own word for what is wrong decides the remedy, and whether to try again; not its status."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from factory.errors import ObjectMissing, StorageRefused, StorageUnavailable
from factory.storage.s3.errors import error_of
from factory.storage.s3.store import S3Store
from tests.factory.storage.crooked import answer, crooked_server

KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
IN_HOST = "wants the bucket in the host: `s3 = addressing_style = virtual` in ~/.aws/config"
CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
REFUSED = {
    "InvalidAccessKeyId": KEYS,
    "SignatureDoesNotMatch": KEYS,
    "ExpiredToken": "have expired; get new ones",
    "InvalidToken": "AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AccessDenied": "these keys need s3:PutObject, s3:GetObject and s3:ListBucket",
    "NoSuchBucket": "create the bucket",
    "PermanentRedirect": "set AWS_REGION",
    "AuthorizationHeaderMalformed": "set AWS_REGION",
    "IllegalLocationConstraintException": "set AWS_REGION",
    "SecondLevelDomainForbidden": IN_HOST,
    "PathStyleDomainForbidden": IN_HOST,
    "InvalidPathAccess": IN_HOST,
    "VirtualHostDomainRequired": IN_HOST,
    "QuotaExceeded": "the quota is used up",
    "XMinioStorageFull": "the quota is used up",
    "InvalidObjectState": "archived; restore it",
    "KMS.DisabledException": "kms:GenerateDataKey and kms:Decrypt",
    "KMS.NotFoundException": "kms:GenerateDataKey and kms:Decrypt",
    "AllAccessDisabled": "the account",
    "AccountProblem": "the account",
    "EntityTooLarge": "limit for one object",
    "NotImplemented": rf"conditional PUT.*{CHECKSUMS}",
    "XAmzContentSHA256Mismatch": CHECKSUMS,
}


def told(code: str, status: int, message: str = "", verb: str = "PutObject", **fields: str):
    error = {"Error": {"Code": code, "Message": message} | fields}
    reply = error | {"ResponseMetadata": {"HTTPStatusCode": status}}
    return error_of(ClientError(reply, verb), verb, "s3://bucket/run")


@pytest.mark.parametrize("code", REFUSED)
def test_a_code_that_is_known_says_what_to_do_whatever_its_status(code: str) -> None:
    for status in (400, 403, 404, 409, 503):
        found = told(code, status)
        assert isinstance(found, StorageRefused), status
        assert str(found).startswith(f"s3://bucket/run: PutObject answered {status} {code}; ")
        assert REFUSED[code].replace(".*", "") in str(found) or ".*" in REFUSED[code]


def test_a_server_without_newer_checksums_is_told_by_its_words() -> None:
    assert CHECKSUMS in str(told("NotImplemented", 501))
    for words in ("Unsupported header 'x-amz-sdk-checksum-algorithm'", "aws-chunked encoding"):
        assert CHECKSUMS in str(told("InvalidArgument", 400, words))
        assert words not in str(told("InvalidArgument", 400, words))


def test_what_is_denied_for_a_kms_key_or_another_endpoint_is_told_apart() -> None:
    assert "kms:Decrypt" in str(told("AccessDenied", 403, "not authorized to perform: kms:Decrypt"))
    assert "AWS_REGION" in str(told("AccessDenied", 403, Endpoint="oss-cn-shanghai.aliyuncs.com"))
    assert "gc alone needs s3:DeleteObject" in str(told("AccessDenied", 403, verb="DeleteObject"))


@pytest.mark.parametrize("status", [200, 400, 403, 503])
@pytest.mark.parametrize("code", ["SlowDown", "Throttling", "TooManyRequests"])
def test_a_store_that_asks_for_fewer_requests_is_tried_again_later(code: str, status: int) -> None:
    found = told(code, status)
    assert isinstance(found, StorageUnavailable)
    assert "fewer workers" in str(found)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, StorageRefused), (403, StorageRefused), (405, StorageRefused), (408, StorageUnavailable)]
    + [(status, StorageUnavailable) for status in (409, 429, 500, 502, 507)],
)
def test_of_an_unknown_code_the_status_decides(status: int, kind: type[Exception]) -> None:
    assert type(told("SomethingNew", status)) is kind
    assert type(told("NoSuchKey", status)) is ObjectMissing


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example:9000")
    return file


def test_the_file_that_puts_the_bucket_into_the_host_is_read(own_settings: Path) -> None:
    address = S3Store("s3://bucket/run").client.generate_presigned_url
    there = {"Bucket": "bucket", "Key": "a"}
    assert address("get_object", there).startswith("http://storage.example:9000/bucket/a?")
    own_settings.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    address = S3Store("s3://bucket/run").client.generate_presigned_url
    assert address("get_object", there).startswith("http://bucket.storage.example:9000/a?")


def test_checksums_are_as_old_servers_know_them_unless_the_environment_says_otherwise(
    own_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = S3Store("s3://bucket/run").client.meta.config
    assert config.request_checksum_calculation == "when_required"
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    config = S3Store("s3://bucket/run").client.meta.config
    assert config.request_checksum_calculation == "when_supported"


@pytest.mark.parametrize("code", ["SecondLevelDomainForbidden", "ExpiredToken"])
def test_a_refusal_of_head_is_asked_by_get_for_its_code(
    own_settings: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    with crooked_server(answer(403, code)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StorageRefused, match=f"answered 403 {code}; .*{REFUSED[code]}"):
            S3Store("s3://bucket/run").find("a")
