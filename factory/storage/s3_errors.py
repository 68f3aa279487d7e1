"""What an S3 failure means for the caller, and what the operator can do about it.

Server messages are not passed on: they may quote the request, and with it the key.
"""

from botocore import exceptions as botocore
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from factory.errors import ObjectMissing, StorageError, StorageRefused, StorageUnavailable

KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REGION = "set AWS_REGION to the bucket's region, and AWS_ENDPOINT_URL if it is not Amazon's"

REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct its name or AWS_ENDPOINT_URL",
    "InvalidBucketName": "correct the bucket's name",
    "InvalidAccessKeyId": KEYS,
    "SignatureDoesNotMatch": KEYS,
    "InvalidToken": "check AWS_SESSION_TOKEN",
    "ExpiredToken": "the session's keys have expired; get new ones",
    "TokenRefreshRequired": "the session's keys have expired; get new ones",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "TemporaryRedirect": REGION,
    "NotImplemented": "this server cannot do it; use one with conditional PUT (If-None-Match)",
    "QuotaExceeded": "the bucket's quota is used up",
    "InvalidObjectState": "the object is archived; restore it first",
    "EntityTooLarge": "the server's limit for one object is smaller",
    # A 403 for a missing key, too, where the right to list is absent.
    "AccessDenied": "these keys need s3:PutObject, s3:GetObject and s3:ListBucket here",
    # HEAD has no body, so its errors carry the status for a code.
    "403": f"{KEYS}, and that they may s3:GetObject and s3:ListBucket here",
    "404": "create the bucket, or correct its name or AWS_ENDPOINT_URL",
    "301": REGION,
}

RIGHTS_OF_GC = {
    "DeleteObject": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
"""What no worker and no other command asks for."""

TRANSIENT = {
    "RequestTimeout",
    "RequestTimeoutException",
    "IncompleteBody",
    "BadDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
"""Codes below 500 after which the same request may succeed."""


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 where the reply had none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def error_of(error: Exception, verb: str, place: str) -> StorageError:
    """The project's error for a failed request: missing, refused or without a clear answer."""
    if isinstance(error, ClientError):
        return error_of_reply(error, verb, place)
    kind = type(error).__name__
    if isinstance(error, botocore.NoCredentialsError | botocore.PartialCredentialsError):
        return StorageRefused(f"{place}: no keys for S3 were found; {KEYS}")
    if isinstance(error, botocore.ProfileNotFound | botocore.CredentialRetrievalError):
        return StorageRefused(f"{place}: no keys for S3 ({kind}); check AWS_PROFILE")
    if isinstance(error, botocore.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StorageRefused(
            f"{place}: the server's certificate is not trusted; set AWS_CA_BUNDLE, or correct "
            "AWS_ENDPOINT_URL"
        )
    if isinstance(
        error, botocore.ConnectionError | botocore.HTTPClientError | botocore.IncompleteReadError
    ):
        return StorageUnavailable(
            f"{place}: {verb} had no answer ({kind}); check AWS_ENDPOINT_URL and the network"
        )
    if isinstance(error, ResponseParserError):
        return StorageUnavailable(
            f"{place}: the answer to {verb} is not S3's; check AWS_ENDPOINT_URL"
        )
    return StorageRefused(
        f"{place}: {verb} cannot be sent ({kind}); check AWS_ENDPOINT_URL, AWS_REGION and the keys"
    )


def error_of_reply(error: ClientError, verb: str, place: str) -> StorageError:
    """As `error_of`, where the server answered."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = status_of(error)
    named = "" if code == str(status) else code
    said = f"{place}: {verb} answered {status} {named}".rstrip()
    if code == "NoSuchKey":
        return ObjectMissing(f"{place}: no such object")
    # 408 and 429 ask for patience; 409 answers two writers at one moment. A 404 whose body was cut
    # tells a missing object from a missing bucket no more; replies to HEAD have no body at all.
    failed = status >= 500 and code != "NotImplemented"
    cut = code == "404" and not verb.startswith("Head")
    if failed or cut or status in (408, 409, 429) or code in TRANSIENT:
        return StorageUnavailable(f"{said}; try again")
    remedy = REMEDIES.get(code) or REMEDIES.get(str(status), "the request is not accepted here")
    if status == 403 and code in ("AccessDenied", "403") and verb in RIGHTS_OF_GC:
        remedy = f"gc alone needs {RIGHTS_OF_GC[verb]} here"
    return StorageRefused(f"{said}; {remedy}")
