"""What a cluster file may say: where jobs go, and what goes with them."""

import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from schemas.record import Record

LOCAL = "local"
"""The address of a cluster that is started for one job and ended after it."""

OPEN_CLUSTER = "EDITMILL_OPEN_CLUSTER"
"""In the environment, `1` says that the network lets nobody else in: an open cluster may be joined."""

SECRET_WORDS = ("SECRET", "TOKEN", "KEY", "PASSWORD", "PASSWD", "CREDENTIAL")
SECRET_VALUE = re.compile(
    r"AKIA[0-9A-Z]{16}|\bsk-[\w-]{16,}|\bhf_\w{16,}|\bghp_\w{16,}|Bearer\s+\S{8,}"
    r"|X-Amz-Signature=|-----BEGIN |://[^/\s:@]+:[^/\s@]+@"
)
"""Access keys and tokens by the shapes their issuers give them, and URLs with a password."""


def hide_secrets(text: str) -> str:
    """A message without what looks like a key: the last wall, for values that messages repeat."""
    return SECRET_VALUE.sub("(hidden)", text)


def names_a_secret(name: str) -> bool:
    """Whether a variable is called like a secret: by whole words, so TOKENIZERS_PARALLELISM is not."""
    return any(
        word.removesuffix("S").endswith(SECRET_WORDS) for word in re.split("[^A-Z]+", name.upper())
    )


class Cluster(Record):
    """A cluster file."""

    address: str
    """`http(s)://head:8265`, or `local`: start one on this machine and end it after the job."""
    working_dir: str | None = None
    """Folder (relative to this file) or remote zip that the job runs in; null: the image has it all."""
    entrypoint_num_cpus: float | None = Field(None, ge=0, le=256)
    """CPUs that the driver holds; null lets it run on a head that offers none."""
    env_vars: dict[str, str] = {}
    """Set for the job; Ray shows them to everyone with access, so no secrets."""
    submission_id: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """The job's name, good for one submission per cluster; null makes a new one each time."""

    @field_validator("address")
    @classmethod
    def _address(cls, address: str) -> str:
        if address == LOCAL:
            return address
        parts = urlsplit(address)
        if "@" in parts.netloc:
            raise ValueError("must not hold a password, got one: the token is read from a file")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(f"must be `local` or http(s)://host:port, got {address!r}")
        return address.rstrip("/")

    @field_validator("env_vars", mode="before")
    @classmethod
    def _no_secrets(cls, variables: Any) -> Any:
        # Before the types are checked, so that no other message can repeat a secret's value.
        for name, value in variables.items() if isinstance(variables, dict) else ():
            if names_a_secret(str(name)) or SECRET_VALUE.search(str(value)):
                raise ValueError(
                    f"{name}: must hold no secret, got one by its name or its look; Ray shows "
                    "env_vars in its dashboard and logs. Set it on the nodes (a Kubernetes "
                    "secret, an instance role, the shell that starts Ray)"
                )
        return variables
