"""What the doctor finds, and the device and the source of pairs that it examines."""

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from factory.errors import EditmillError, StorageError, first_line
from factory.pairs.source import PairSource

T = TypeVar("T")


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found; with a remedy unless all is well."""

    check: str
    level: Level
    found: str
    remedy: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured, for machines."""


Check = Generator[Finding, None, T]
"""Yields findings as they are made, and returns what later checks build on."""


class Device(Protocol):
    """What the networks run on. Memory is in bytes: the device's own, or this process's on a CPU."""

    @property
    def kind(self) -> str:
        """`cpu`, `cuda` ..."""

    @property
    def name(self) -> str:
        """The model."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Number formats that it computes in at full speed."""

    @property
    def total(self) -> int:
        """All its memory."""

    def free(self) -> int:
        """Memory that nobody uses."""

    def held(self) -> int:
        """Memory that this process holds."""

    def peak(self) -> int:
        """The most that this process held since it began."""


class MeasuredSource(PairSource, Protocol):
    """A pair source that counts its work."""

    @property
    def rows_run(self) -> int:
        """UNet rows that carried a candidate."""


def ok(check: str, found: str, **figures: Any) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, found, figures=figures)


def warning(check: str, found: str, remedy: str, **figures: Any) -> Finding:
    """A run would work, but perhaps not as it is meant."""
    return Finding(check, Level.WARNING, found, remedy, figures)


def failed(check: str, found: str, remedy: str, **figures: Any) -> Finding:
    """A run would not work."""
    return Finding(check, Level.FAILED, found, remedy, figures)


def skipped(check: str, why: str) -> Finding:
    """Not looked at."""
    return Finding(check, Level.SKIPPED, why)


def guarded(check: str, findings: Check[T], remedy: str) -> Check[T | None]:
    """A check whose errors are findings, too; then None is returned."""
    try:
        return (yield from findings)
    except StorageError as error:
        # Their messages end with the advice that suits the failure.
        words, _, advice = str(error).partition("; ")
        yield failed(check, words, advice or remedy)
    except EditmillError as error:
        yield failed(check, str(error), remedy)
    except Exception as error:  # the libraries' own kinds, among them a device's lack of memory
        if isinstance(error, MemoryError) or "memory" in str(error):
            remedy = "lower compute.batch_pairs and compute.decode_pairs, or use a larger device"
        yield failed(check, first_line(error), remedy)
    return None
