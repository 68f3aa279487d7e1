"""What a browser is told that an object is: a bucket of edits may be a web site's."""

STARTS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
ENDINGS = {
    "csv": "text/csv",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
}


def content_type(name: str, data: bytes) -> str | None:
    """Of pictures by how they begin, whatever they are called; of others by their ending. None leaves it to
    the server.
    """
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    begins = next((kind for start, kind in STARTS.items() if data.startswith(start)), None)
    return begins or ENDINGS.get(name.rpartition(".")[2])
