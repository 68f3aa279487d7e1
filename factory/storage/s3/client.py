"""A client of S3 from the AWS environment: endpoint, region and keys."""

import os
import re
from typing import Any

import boto3
from botocore.config import Config

from factory.errors import StorageRefused

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PRINTABLE = re.compile(r"[!-~]*")

SETTINGS: dict[str, Any] = {
    # Servers of before 2025 refuse the newer checksum trailers; ContentMD5 guards what we send.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "connect_timeout": 5,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "max_pool_connections": 32,
}


def connect() -> Any:
    """A client from the environment. Raises `StorageRefused` on settings that cannot be."""
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    if "@" in endpoint:
        raise StorageRefused(
            "AWS_ENDPOINT_URL: expected no user or password in it, got one (not shown); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    for name in KEYS:
        if not PRINTABLE.fullmatch(os.environ.get(name, "")):
            # As from a file that ends with a line feed; errors about headers would quote it.
            raise StorageRefused(f"{name}: expected no blanks or line ends in it, got some")
    # boto3 itself reads AWS_DEFAULT_REGION only, and goes on to us-east-1. At an endpoint that
    # is not Amazon's it puts the bucket into the path, as few of those have a host for each.
    region = os.environ.get("AWS_REGION") or None
    session = boto3.session.Session()
    asked = {name: os.environ.get(f"AWS_{name.upper()}") for name in SETTINGS if "checksum" in name}
    settings = SETTINGS | {name: value for name, value in asked.items() if value}
    return session.client("s3", region_name=region, config=Config(**settings))
