"""Where work runs and how wide: what every stage and training says of its workers."""

from typing import Literal

from pydantic import Field, model_validator

from schemas.record import Record


class Pool(Record):
    """Workers on a cluster or this process; changes the last bits of what is made at most."""

    where: Literal["ray", "here"] = "ray"
    """`ray` starts or joins a Ray cluster; `here` works in this process."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")
    """`auto` is the GPU where there is one; else a torch device such as `cpu` or `cuda:1`."""
    gpus_per_worker: float = Field(1.0, ge=0, le=8)
    """Share of a GPU that a worker holds; 0 for CPU workers."""
    cpus_per_worker: float = Field(1.0, ge=0, le=256)
    """CPUs that a worker without a GPU holds in Ray's bookkeeping; a GPU worker holds none."""
    min_workers: int = Field(1, ge=1, le=10_000)
    """Workers kept while there is work."""
    max_workers: int = Field(1, ge=1, le=10_000)
    """Most workers; more than `min_workers` lets the pool grow with the cluster."""
    threads: int = Field(1, ge=1, le=256)
    """CPU threads per worker; part of the environment, because sums depend on it."""

    @property
    def calls(self) -> int:
        """Units that feed one worker at once."""
        return 1

    @property
    def backward(self) -> bool:
        """Whether the last open unit is made first; what is made does not depend on it."""
        return False

    @model_validator(mode="after")
    def _bounds(self) -> "Pool":
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"min_workers must be at most max_workers, got {self.min_workers} and {self.max_workers}"
            )
        return self
