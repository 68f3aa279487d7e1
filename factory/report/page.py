"""The page: one file that asks no network; pictures, numbers, style and script are in it."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


def page(data: Mapping[str, Any], columns: Mapping[str, Any], **words: Any) -> str:
    """The whole page.

    `data` is what its script reads, `columns` are candidates as `CandidateColumns.packed` gives them,
    `words` what stands in its head.
    """
    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (HERE / "page.js").read_text()
    return templates.get_template("page.html").render(
        allowed=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(HERE / "page.css").read_text(),
        script=script,
        data=harmless(data),
        columns=columns,
        **words,
    )


def harmless(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that holds it: strangers' words are in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
