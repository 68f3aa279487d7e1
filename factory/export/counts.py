"""What an export holds, counted while its rows pass: kinds of edits, distributions of scores, samples."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from schemas.pair import Pair

SCORES = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image")
RANGES = {**dict.fromkeys(SCORES, (-1.0, 1.0)), "p2p_threshold": (0.0, 1.0)}
"""Of what is counted in bins, which are `BIN` wide; the last one holds its upper end."""
BIN = 0.05
NO_KIND = "not given"
SAMPLES = 3
SHOWN = 8
"""Pairs on a sheet of samples, each of another triplet."""
SAMPLE_COLUMNS = ("original_prompt", "edit_prompt", "edited_prompt", "edit_kind", "seed", *RANGES)
"""What is kept of a sample."""


class PairCounts:
    """Counts of some pairs; those of several shards are added up."""

    def __init__(self) -> None:
        self.pairs = 0
        self.memory = 0
        """Bytes of all columns, as `datasets` counts a split."""
        self.kinds: Counter[str] = Counter()
        self.bins = {name: np.zeros(_bins(name), np.int64) for name in RANGES}
        self.picture: dict[str, Any] = {}
        """Format, width and height of the first picture."""
        self.samples: list[dict[str, Any]] = []
        self.shown: dict[str, Pair] = {}
        """The first pair of the first triplets, in this process alone."""

    def watched(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables; each is counted when it is taken."""
        for table in tables:
            self._add(table)
            yield table

    def _add(self, table: pa.Table) -> None:
        self.pairs += table.num_rows
        self.memory += table.nbytes
        kinds = table.column("edit_kind").to_pylist()
        self.kinds.update(kind or NO_KIND for kind in kinds)
        for name, (low, _) in RANGES.items():
            values = table.column(name).to_numpy()
            # A hair aside, so that 0.15, whatever its last bit, is counted above it.
            places = np.floor((values - low) / BIN + 1e-9).astype(np.int64)
            np.add.at(self.bins[name], np.clip(places, 0, _bins(name) - 1), 1)
        if not self.picture and table.num_rows:
            data = table.column("original_image")[0].as_py()["bytes"]
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
                self.picture = {
                    "format": picture.format,
                    "width": picture.width,
                    "height": picture.height,
                }
        self._show(table)
        wanted = SAMPLES - len(self.samples)
        if wanted > 0:
            self.samples += table.select(list(SAMPLE_COLUMNS)).slice(0, wanted).to_pylist()

    def _show(self, table: pa.Table) -> None:
        if len(self.shown) == SHOWN:
            return
        names = table.column("triplet_id").to_pylist()
        for row, name in enumerate(names):
            if name not in self.shown and len(self.shown) < SHOWN:
                (plain,) = table.slice(row, 1).to_pylist()
                self.shown[name] = Pair.model_validate(plain)

    def as_json(self) -> dict[str, Any]:
        """Plain, for a shard's outcome."""
        return {
            "pairs": self.pairs,
            "memory": self.memory,
            "kinds": dict(sorted(self.kinds.items())),
            "bins": {name: counts.tolist() for name, counts in self.bins.items()},
            "picture": self.picture,
            "samples": self.samples,
        }

    def add(self, shard: Mapping[str, Any]) -> None:
        """A shard's, as `as_json` gave it."""
        self.pairs += shard["pairs"]
        self.memory += shard["memory"]
        self.kinds.update(shard["kinds"])
        for name, counts in shard["bins"].items():
            self.bins[name] += np.asarray(counts)
        self.picture = self.picture or shard["picture"]
        self.samples = [*self.samples, *shard["samples"]][:SAMPLES]

    def quantile(self, name: str, share: float) -> float:
        """The lower end of the bin in which so many of the values lie below."""
        counts = self.bins[name]
        place = int(np.searchsorted(np.cumsum(counts), share * counts.sum(), side="left"))
        return round(float(RANGES[name][0] + place * BIN), 2)


def _bins(name: str) -> int:
    low, high = RANGES[name]
    return round((high - low) / BIN)
