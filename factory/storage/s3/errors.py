"""What an S3 failure means for the caller, and what the operator can do about it.

Server messages are not passed on: they may quote the request, and with it the key.
"""

import re

from botocore import exceptions as botocore
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from factory.errors import (
    BucketMissing,
    ObjectMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)

KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
EXPIRED = "the session's keys have expired; get new ones"
CLOCK = "this machine's clock is wrong; set it"
REGION = "set AWS_REGION to the bucket's region, and AWS_ENDPOINT_URL if it is not Amazon's"
BUCKET = "create the bucket, or correct its name or AWS_ENDPOINT_URL"
# A 403 for a missing key, too, where the right to list is absent.
RIGHTS = "these keys need s3:PutObject, s3:GetObject and s3:ListBucket here"
IN_HOST = (
    "this store wants the bucket in the host: `s3 = addressing_style = virtual` in ~/.aws/config "
    "(under its profile; what follows `s3 =` on a line of its own, indented)"
)
ACCOUNT = "the account or the bucket is closed, or a bill is not paid; ask the store's owner"
FULL = "the quota is used up; free some, or have it raised"
KMS = (
    "the bucket is encrypted by a KMS key: it must be enabled and in this region, and these keys need "
    "kms:GenerateDataKey and kms:Decrypt for it"
)
CHECKSUMS = (
    "the checksum is none that the server takes, or a proxy changed what was sent: set "
    "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
)
FEWER = "it asks for fewer requests: run fewer workers, or try again later"

REMEDIES = {
    "NoSuchBucket": BUCKET,
    "InvalidBucketName": "correct the bucket's name",
    "InvalidAccessKeyId": KEYS,
    "SignatureDoesNotMatch": KEYS,
    "InvalidSecurity": KEYS,
    "InvalidToken": "check AWS_SESSION_TOKEN",
    "InvalidClientTokenId": "check AWS_SESSION_TOKEN",
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "RequestTimeTooSkewed": CLOCK,
    "RequestExpired": CLOCK,
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "TemporaryRedirect": REGION,
    "Redirect": REGION,
    "IllegalLocationConstraintException": REGION,
    "IllegalLocationConstraint": REGION,
    "InvalidLocationConstraint": REGION,
    # Alibaba's OSS, Tencent's COS, ByteDance's TOS, Huawei's OBS.
    "SecondLevelDomainForbidden": IN_HOST,
    "PathStyleDomainForbidden": IN_HOST,
    "InvalidPathAccess": IN_HOST,
    "VirtualHostDomainRequired": IN_HOST,
    "NotImplemented": (
        "this server cannot do it; use one with conditional PUT (If-None-Match), or, where newer "
        "checksums are asked for, set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
    ),
    "XAmzContentSHA256Mismatch": CHECKSUMS,
    "XAmzContentChecksumMismatch": CHECKSUMS,
    "InvalidDigest": CHECKSUMS,
    "MissingContentLength": CHECKSUMS,
    "QuotaExceeded": FULL,
    "InsufficientStorage": FULL,
    "InsufficientStorageSpace": FULL,
    "XMinioStorageFull": FULL,
    "XMinioAdminBucketQuotaExceeded": FULL,
    "InvalidObjectState": "the object is archived; restore it first",
    "EntityTooLarge": "the server's limit for one object is smaller",
    "KeyTooLongError": "choose a shorter prefix",
    "MethodNotAllowed": "this address does not take such requests; check AWS_ENDPOINT_URL",
    "AllAccessDisabled": ACCOUNT,
    "AccountProblem": ACCOUNT,
    "NotSignedUp": ACCOUNT,
    "UserDisable": ACCOUNT,
    "UserSuspended": ACCOUNT,
    "AccessDenied": RIGHTS,
    # HEAD has no body, so its errors carry the status for a code.
    "403": f"{KEYS}, and that they may s3:GetObject and s3:ListBucket here",
    "404": BUCKET,
    "301": REGION,
    "307": REGION,
}

RIGHTS_OF_GC = {
    "DeleteObject": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
"""What no worker and no other command needs."""

TRANSIENT = {
    "RequestTimeout",
    "RequestTimeoutException",
    "IncompleteBody",
    "BadDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "BandwidthLimitExceeded",
}
"""Codes after which the same request may succeed, whatever their status."""
THROTTLED = re.compile(r"SlowDown|Throttl|TooManyRequests|LimitExceeded")
ABOUT_CHECKSUMS = re.compile(r"checksum|aws-chunked|trailer", re.IGNORECASE)
"""What servers without a code of its own say where they do not know the newer ones."""


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 where the reply had none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The server's own word for what is wrong; empty where it gave none, as in reply to HEAD."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return "" if code.isdecimal() else code


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
    """As `error_of`, where the server answered: its code decides, and the status where that is unknown."""
    code, status = code_of(error), status_of(error)
    answer = f"{place}: {verb} answered {status} {code}".rstrip()
    if code == "NoSuchKey":
        return ObjectMissing(f"{place}: no such object")
    if code in TRANSIENT:
        remedy = FEWER if THROTTLED.search(code) else "try again"
        return StorageUnavailable(f"{answer}; {remedy}")
    known = KMS if code.startswith("KMS.") else REMEDIES.get(code)
    words = str(error.response.get("Error", {}).get("Message", ""))
    if known is None and 400 <= status < 500 and ABOUT_CHECKSUMS.search(words):
        known = CHECKSUMS
    if known is None:
        # 408 and 429 ask for patience; 409 answers two writers at one moment. A 404 whose body was
        # cut tells a missing object from a missing bucket no more; replies to HEAD have no body.
        cut = status == 404 and not code and not verb.startswith("Head")
        if status >= 500 or cut or status in (408, 409, 429):
            return StorageUnavailable(f"{answer}; try again")
        known = REMEDIES.get(str(status), "the request is not accepted here")
    if code in ("AccessDenied", "") and status == 403 and verb in RIGHTS_OF_GC:
        known = f"gc alone needs {RIGHTS_OF_GC[verb]} here"
    elif known is RIGHTS and "kms:" in words.lower():
        known = KMS
    elif known is RIGHTS and error.response.get("Error", {}).get("Endpoint"):
        # Where a bucket lies elsewhere, some say only this and where.
        known = REGION
    kind = BucketMissing if known is BUCKET else StorageRefused
    return kind(f"{answer}; {known}")
