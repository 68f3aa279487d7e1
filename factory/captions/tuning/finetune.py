"""Fine-tune a server's model by OpenAI's API: lines are uploaded once, a job is begun once, and waited for.

What the server was asked is stored beside, and looked up there and at the server before it is asked again:
a start that was killed between the two pays for nothing twice.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import OpenAI
from pydantic import ValidationError

from factory import deeds
from factory.captions.asked import BadRequest
from factory.captions.server import LanguageServer
from factory.errors import ConfigError, EditmillError, RunMismatch, ServerRefused
from factory.storage.local import LocalStore
from schemas.captions import FineTuning, Server, Tuning

STATE = "finetuning.json"
MARK = "editmill_lines"
"""Name of the job's label at the server: the hash of its lines."""
POLL_S = 20.0
"""Between two looks at a job, which takes minutes to hours."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})


def fine_tune(
    server: Server,
    wanted: Tuning,
    lines: Path,
    out: Path,
    *,
    say: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
    should_stop: Callable[[], bool] = lambda: False,
) -> FineTuning:
    """How far it is when the job has ended, or when it was to stop.

    Raises `ServerRefused` for a job that failed, `RunMismatch` where `out` holds another one, and what
    `LanguageServer.patiently` does.
    """
    asker = LanguageServer(server, sleep)
    try:
        state = _begun(wanted.model, lines, out)
        if state.tuned is None:
            state = _uploaded(asker, state, lines, out, say)
            state = _job(asker, state, wanted, out, say)
            state = _awaited(asker, state, out, say, sleep, should_stop)
        return state
    except BadRequest as error:
        raise ServerRefused(f"{server.base_url}: {error}") from None
    finally:
        asker.close()


def _begun(model: str, lines: Path, out: Path) -> FineTuning:
    """What `out` holds, or a new state there."""
    if not lines.is_file():
        raise ConfigError(f"--lines: must be a file of JSON lines, got {lines}")
    wanted = FineTuning(model=model, lines=hashlib.sha256(lines.read_bytes()).hexdigest())
    file = out / STATE
    if not file.exists():
        _store(wanted, out)
        return wanted
    try:
        found = FineTuning.read(json.loads(file.read_text()))
    except (ValueError, ValidationError):
        raise ConfigError(f"{file}: must say how far a fine-tuning is, got other text") from None
    if (found.model, found.lines) != (wanted.model, wanted.lines):
        what = "lines" if found.model == model else f"model, {found.model}"
        raise RunMismatch(f"{out}: holds a fine-tuning of other {what}; name another --out")
    return found


def _uploaded(
    asker: LanguageServer, state: FineTuning, lines: Path, out: Path, say: Callable[[str], None]
) -> FineTuning:
    if state.file_id:
        return state
    name = f"editmill-{state.lines[:16]}.jsonl"

    def find(client: OpenAI) -> str | None:
        held = client.files.list(purpose="fine-tune")
        return next((one.id for one in held if one.filename == name), None)

    def upload(client: OpenAI) -> str:
        # Whoever sent them before this failed may not have heard that they had come.
        return (
            find(client)
            or client.files.create(file=(name, lines.read_bytes()), purpose="fine-tune").id
        )

    say(f"uploading {lines} as {name}")
    file_id = asker.patiently(upload, name)
    deeds.made()
    return _with(state, out, file_id=file_id)


def _job(
    asker: LanguageServer,
    state: FineTuning,
    wanted: Tuning,
    out: Path,
    say: Callable[[str], None],
) -> FineTuning:
    if state.job_id:
        return state
    mark = {MARK: state.lines}
    method: dict[str, Any] = {"type": "supervised"}
    if wanted.epochs is not None:
        method["supervised"] = {"hyperparameters": {"n_epochs": wanted.epochs}}

    def find(client: OpenAI) -> str | None:
        jobs = client.fine_tuning.jobs.list()
        for job in jobs:
            is_ours = (job.metadata or {}) == mark and job.training_file == state.file_id
            if is_ours and job.status not in ("failed", "cancelled"):
                return str(job.id)
        return None

    def create(client: OpenAI) -> str:
        found = find(client)
        if found:
            return found
        options: dict[str, Any] = {"suffix": wanted.suffix} if wanted.suffix else {}
        return client.fine_tuning.jobs.create(
            model=state.model,
            training_file=state.file_id or "",
            method=method,  # type: ignore[arg-type]
            metadata=mark,
            **options,
        ).id

    job_id = asker.patiently(create, state.lines)
    deeds.made()
    say(f"job {job_id}")
    return _with(state, out, job_id=job_id)


def _awaited(
    asker: LanguageServer,
    state: FineTuning,
    out: Path,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
    should_stop: Callable[[], bool],
) -> FineTuning:
    job_id, before = state.job_id or "", ""
    while not should_stop():
        job = asker.patiently(lambda client: client.fine_tuning.jobs.retrieve(job_id), job_id)
        if job.status != before:
            say(f"job {job_id}: {job.status}")
        before = job.status
        if job.status == "succeeded" and job.fine_tuned_model:
            return _with(state, out, tuned=job.fine_tuned_model)
        if job.status in ENDED:
            why = job.error.message if job.error and job.error.message else "no reason was given"
            # Another start makes another job of the same lines.
            _with(state, out, job_id=None)
            raise EditmillError(f"job {job_id}: {job.status}: {asker.hidden(why)}")
        sleep(POLL_S)
    return state


def _with(state: FineTuning, out: Path, **fields: str | None) -> FineTuning:
    changed = state.model_copy(update=fields)
    _store(changed, out)
    return changed


def _store(state: FineTuning, out: Path) -> None:
    LocalStore(out).put(STATE, state.model_dump_json(indent=1).encode())
