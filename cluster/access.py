"""Who may talk to a cluster: the token, and whether the cluster asks for one at all."""

import json
import os
import stat
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from factory.console.say import say
from factory.errors import EditmillError, InputError

REQUEST_S = 30.0
"""Longest wait for one answer."""


class AccessRefused(InputError):
    """No token, the wrong one, or a cluster that is open to everyone."""


class ClusterUnavailable(EditmillError):
    """The cluster gave no clear answer; try again."""


class JobUnknown(EditmillError):
    """The cluster answers and has no such job: its head was started anew."""


def access_to(address: str, open_cluster: bool) -> str | None:
    """The token to send to a cluster; None where it is open to everyone and `open_cluster` says it may be.

    Raises `AccessRefused`, `ClusterUnavailable`.
    """
    if not asks_for_token(address, open_cluster):
        return None
    token = find_token()
    if token is None:
        raise AccessRefused(
            f"{address}: the cluster asks for a token, got none; set RAY_AUTH_TOKEN_PATH or "
            "RAY_AUTH_TOKEN, or write ~/.ray/auth_token"
        )
    return token


def asks_for_token(address: str, open_cluster: bool) -> bool:
    """Whether a token must be sent. Raises `AccessRefused` for an open cluster, unless that is wanted."""
    if not is_open(address):
        return True
    if open_cluster:
        say(f"{address}: open to everyone who can reach it (--open-cluster)")
        return False
    raise AccessRefused(
        f"{address}: the cluster must ask for a token, got an answer without one: whoever reaches "
        "its jobs API runs code there with its credentials, and such clusters are searched for and "
        "robbed (ShadowRay, CVE-2023-48022). Start it with RAY_AUTH_MODE=token; or give "
        "--open-cluster where the network lets nobody else in"
    )


def find_token() -> str | None:
    """The token, from the places and in the order that Ray's own programs use; None without one.

    It goes from here into one HTTP header and nowhere else: not into arguments, the job's
    environment, a message or a log.
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if token:
        return _checked(token, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise AccessRefused(
                f"RAY_AUTH_TOKEN_PATH: must name a file with the token, got {named}: "
                f"{type(error).__name__}"
            ) from None
        return None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        say(f"{path}: others on this machine can read the token; chmod 600 it")
    return _checked(token, str(path))


def _checked(token: str, where: str) -> str:
    # What http.client would refuse later, it would repeat in its message.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AccessRefused(f"{where}: must hold one line of printable characters, got another")
    return token


def is_open(address: str) -> bool:
    """Whether the jobs API answers someone without a token.

    Raises `ClusterUnavailable` where no jobs API answers.
    """
    try:
        jobs = get_json(f"{address}/api/jobs/", None)
    except AccessRefused:
        return False
    if not isinstance(jobs, list):
        raise ClusterUnavailable(f"{address}: must be a Ray jobs API, got another service")
    return True


def get_json(url: str, token: str | None) -> Any:
    """One GET.

    Raises `AccessRefused` on 401 and 403, `JobUnknown` on 404, else `ClusterUnavailable`.
    """
    request = Request(url, headers=bearer(token))
    try:
        with urlopen(request, timeout=REQUEST_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code in (401, 403):
            raise AccessRefused(f"{url}: the cluster does not accept this token") from None
        kind = JobUnknown if error.code == 404 else ClusterUnavailable
        raise kind(f"{url}: HTTP {error.code}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ClusterUnavailable(f"{url}: cannot be reached: {reason}") from None
    except ValueError:
        raise ClusterUnavailable(f"{url}: must be a Ray jobs API, got another service") from None


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
