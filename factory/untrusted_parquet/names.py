"""The Parquet files below a folder or prefix, whoever wrote them and whatever they are called."""

from factory.storage.local import LocalStore
from factory.storage.protocol import ObjectStore
from factory.storage.s3 import S3Store

SUFFIX = ".parquet"
PASSED_OVER = (".", "_")
"""How names begin of what is no data: Spark's `_temporary/`, `_delta_log/`, `.ipynb_checkpoints/`."""


def parquet_names(store: ObjectStore) -> list[str]:
    """In order; strangers' names may hold blanks and signs that no key of ours has."""
    if isinstance(store, LocalStore):
        paths = store.folder.rglob(f"*{SUFFIX}")
        names = [path.relative_to(store.folder).as_posix() for path in paths if path.is_file()]
    elif isinstance(store, S3Store):
        names = list(store.names())
    else:
        names = [info.key for info in store.list()]
    return sorted(name for name in names if name.endswith(SUFFIX) and not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(PASSED_OVER) for part in name.split("/"))
