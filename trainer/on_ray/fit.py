"""`fit` on Ray Train: the same function on every worker of a group that may shrink, grow and restart.

Ray Train starts workers, joins them in a process group and starts them again after failures and
preemptions. Checkpoints are the training's own (`trainer/checkpoint.py`): a restart goes on from the
newest whole one, on however many workers there are then.
"""

import secrets
import tempfile
from dataclasses import asdict
from typing import Any

import torch
from ray.exceptions import RayError
from ray.train import (
    FailureConfig,
    RunConfig,
    ScalingConfig,
    get_context,
    get_preemption_info,
    report,
)
from ray.train.torch import TorchTrainer

from factory.errors import EditmillError, InputError, first_line
from factory.on_ray.rows import ClusterFailed
from factory.on_ray.session import connect
from schemas.config import Compute
from schemas.fit import Fit, Where
from trainer.fit import Fitted, fit
from trainer.group import Group

ASK_EVERY = 5
"""Steps between questions whether a node has notice; each is a round over all workers."""


def fit_on_ray(config: Fit, dataset: str, out: str) -> Fitted:
    """Train on the cluster that is there, or on this machine.

    Raises the workers' `InputError` or `NotFinite`, and `ClusterFailed` where Ray gave up.
    """
    compute = _joined(config.compute)
    here = config.model_copy(update={"compute": compute})
    settings = {"config": here.model_dump_json(), "dataset": dataset, "out": out}
    workers: int | tuple[int, int] = compute.min_workers
    if compute.max_workers > compute.min_workers:
        workers = (compute.min_workers, compute.max_workers)
    held = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {"CPU": 1.0}
    trainer = TorchTrainer(
        train,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=bool(compute.gpus_per_worker),
            resources_per_worker=held,
        ),
        run_config=RunConfig(
            # Never an older one's: whose training it is, and where it stands, is in `out`.
            name=f"editmill-{secrets.token_hex(4)}",
            storage_path=f"{out.rstrip('/')}/ray" if out.startswith("s3://") else _scratch(),
            failure_config=FailureConfig(max_failures=compute.failures),
        ),
    )
    try:
        found = trainer.fit().metrics or {}
    except (RayError, RuntimeError) as error:
        raise ClusterFailed(f"ray: {first_line(error)}") from error
    if "problem" in found:
        kind = InputError if found["code"] == InputError.exit_code else ClusterFailed
        raise kind(found["problem"])
    return Fitted(**{name: found[name] for name in Fitted.__dataclass_fields__})


def train(settings: dict[str, Any]) -> None:
    """One worker, from its start to the end of the training."""
    config = Fit.model_validate_json(settings["config"])
    asked = 0

    def is_leaving() -> bool:
        nonlocal asked
        asked += 1
        return asked % ASK_EVERY == 0 and get_preemption_info() is not None

    try:
        found = fit(
            config,
            settings["dataset"],
            settings["out"],
            group=Group(),
            is_leaving=is_leaving,
            wrap=_spread,
            local_rank=get_context().get_local_rank(),
        )
    except EditmillError as error:
        # All workers come here together, and no restart would help.
        report({"problem": str(error), "code": error.exit_code})
        return
    report(asdict(found))


def _spread(network: Any) -> Any:
    """Data parallel: gradients are averaged over the workers."""
    if Group().size == 1:
        return network
    device = next(network.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)


def _joined(compute: Where) -> Where:
    """Ray, and where it has no GPU the compute without one."""
    asked = Compute(
        device=compute.device,
        gpus_per_worker=compute.gpus_per_worker,
        min_workers=compute.min_workers,
        max_workers=compute.max_workers,
    )
    got = connect(asked)
    return compute.model_copy(
        update={
            "gpus_per_worker": got.gpus_per_worker,
            "min_workers": got.min_workers,
            "max_workers": got.max_workers,
        }
    )


def _scratch() -> str:
    """Ray Train wants a folder of its own; nothing of value is kept there."""
    return tempfile.mkdtemp(prefix="editmill-train-")
