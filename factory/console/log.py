"""What a start says on stderr, as text or as one JSON object a line, and its file with the same lines."""

import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import Any

from factory.errors import ConfigError
from schemas.running.cluster import hide_secrets

FORMAT = "EDITMILL_LOG_FORMAT"
"""In the environment: as the option `--log-format`."""
FILE = "EDITMILL_LOG_FILE"
"""As `--log-file`."""
FOLDER = "EDITMILL_LOG_DIR"
"""Where files of starts go of which nobody named one; empty keeps none."""
KEPT = 32
"""Files of starts in that folder; older ones are removed."""
ENDING = ".jsonl"


class LogFormat(StrEnum):
    """How a line looks on stderr."""

    TEXT = "text"
    JSON = "json"


@dataclass
class _Log:
    """Of this process, which has one start at a time."""

    as_json: bool = os.environ.get(FORMAT) == LogFormat.JSON
    """Until the options are read the environment alone is asked."""
    verb: str = ""
    run: str | None = None
    file: FileIO | None = None
    """Without a buffer: one write a line, so that threads need no lock that a signal might wait for."""
    began: float = field(default_factory=time.monotonic)


_log = _Log()


def open_log(
    verb: str, run: str | None, form: LogFormat, file: Path | None, *, unasked: bool
) -> None:
    """A start begins; it says so in its file.

    `unasked` are starts of which a file is kept where none is named. Raises `ConfigError` where the named
    one cannot be written; one that nobody asked for is then left out.
    """
    close_log()
    _log.as_json, _log.verb, _log.run = form is LogFormat.JSON, verb, run
    _log.began = time.monotonic()
    if file is not None:
        try:
            _log.file = _opened(file)
        except OSError as error:
            raise ConfigError(f"--log-file {file}: cannot be written: {error.strerror}") from None
    elif unasked and (folder := _folder()) is not None:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_room(folder)
            begun = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
            _log.file = _opened(folder / f"{begun}-{verb}-{os.getpid()}{ENDING}")


def begin_log() -> None:
    """The first line, for collectors and the file alone: a person knows what was started."""
    _for_machines("started")


def end_log(code: int, level: str = "info", **fields: Any) -> None:
    """The last line, for the same."""
    seconds = round(time.monotonic() - _log.began, 1)
    _for_machines("ended", level, exit_code=code, seconds=seconds, **fields)
    close_log()


def close_log() -> None:
    """Nothing more goes into the file; what is said later is said on stderr as before."""
    file, _log.file = _log.file, None
    if file is not None:
        with suppress(OSError):
            file.close()


def is_json() -> bool:
    """Whether lines on stderr are JSON, so that no bar is drawn there."""
    return _log.as_json


def tell(text: str, level: str = "info", **fields: Any) -> None:
    """A line on stderr, and in the start's file; `level` is info, warning or error, `fields` are what it
    says, for machines.
    """
    line = _line(text, level, fields)
    _write(line)
    print(line if _log.as_json else hide_secrets(text), file=sys.stderr, flush=True)


def last_words(text: str) -> str:
    """What a signal has a program say, as stderr has it; a disk that hangs keeps nobody from ending."""
    keeper = threading.Thread(target=note, args=(text, "warning"), daemon=True)
    keeper.start()
    keeper.join(1.0)
    return _line(text, "warning", {}) if _log.as_json else hide_secrets(text)


def note(text: str, level: str = "info", **fields: Any) -> None:
    """A line that stderr shows otherwise, as a bar does: in the file alone."""
    _write(_line(text, level, fields))


def _write(line: str) -> None:
    if (file := _log.file) is not None:
        # A full disk must not end what is logged, nor what another thread says at the very end.
        with suppress(OSError, ValueError):
            file.write(f"{line}\n".encode())


def _for_machines(text: str, level: str = "info", **fields: Any) -> None:
    (tell if _log.as_json else note)(text, level, **fields)


def _line(text: str, level: str, fields: dict[str, Any]) -> str:
    said: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "verb": _log.verb,
        "run": _log.run and hide_secrets(_log.run),
        "message": hide_secrets(text),
    }
    if fields:
        said["fields"] = {
            name: hide_secrets(one) if isinstance(one, str) else one for name, one in fields.items()
        }
    return json.dumps(said, ensure_ascii=False, default=str)


def _opened(file: Path) -> FileIO:
    """To append to; its user's alone where it is new."""
    return FileIO(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _folder() -> Path | None:
    """Where state goes that is no data, by the habit of Linux desktops (XDG)."""
    named = os.environ.get(FOLDER)
    if named is not None:
        return Path(named) if named else None
    state = os.environ.get("XDG_STATE_HOME")
    with suppress(RuntimeError):  # somebody without a home
        return (Path(state) if state else Path.home() / ".local" / "state") / "editmill" / "logs"
    return None


def _make_room(folder: Path) -> None:
    """Their names begin with their time, so that the oldest are the first."""
    files = sorted(folder.glob(f"*{ENDING}"))
    for file in files[: max(0, len(files) - KEPT + 1)]:
        with suppress(OSError):
            file.unlink()
