"""`fit` on Ray Train: the same function on every worker of a group that may shrink, grow and restart.

Ray Train starts workers, joins them in a process group and starts them again after failures and
preemptions. Checkpoints are the training's own (`trainer/root/checkpoint.py`): a restart goes on from the
newest whole one, on however many workers there are then.
"""

import secrets
from dataclasses import asdict
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from factory import deeds
from factory.dataset.dataset import Dataset
from factory.errors import EditmillError
from factory.on_ray.ray_internals import controller_callback
from factory.on_ray.session import connect
from factory.storage.open import open_store
from factory.storage.protocol import ObjectStore
from schemas.training.fit import Fit, Where
from trainer.fit import Fitted, fit
from trainer.learning.group import Group
from trainer.on_ray.notice import Notice
from trainer.on_ray.pause import Pause
from trainer.on_ray.workers import run_workers
from trainer.root.training import begun_dataset

RESIZE_EVERY_S = 60.0
"""Between two looks at whether more workers fit."""


def fit_on_ray(config: Fit, dataset: Dataset, store: ObjectStore) -> Fitted:
    """Train on the cluster that is there, or on this machine; what `trainer.fit.prepare` returned.

    SIGTERM has a checkpoint written and ends it. Raises the workers' `InputError`, `StorageRefused` or
    `NotFinite`, `ClusterFailed` where Ray gave up, and `EditmillError` after SIGTERM without workers.
    """
    compute = connect(config.compute)
    settings = {
        "config": config.model_copy(update={"compute": compute}).model_dump_json(),
        "dataset": dataset.files.place,
        "out": store.uri,
    }
    ended = run_workers(
        lambda desk, scratch: _trainer(compute, settings | {"desk": desk}, scratch),
        compute.failures,
    )
    return Fitted(**ended)


def train(settings: dict[str, Any]) -> dict[str, Any] | None:
    """One worker, from its start to the end of the training."""
    deeds.anew()
    config, desk = Fit.model_validate_json(settings["config"]), settings["desk"]
    group, notice = Group(), Notice()
    if ray.get(desk.problem.remote()) is not None:
        return None

    if group.leads:
        ray.get(desk.begin.remote(ray.get_runtime_context().current_actor))

    def is_leaving() -> bool:
        is_given = notice.is_given()
        if is_given and group.leads:
            ray.get(desk.set_stored.remote(False))
        return is_given

    def should_stop() -> bool:
        if notice.given and group.leads:
            # `fit` has waited for it.
            ray.get(desk.set_stored.remote(True))
        return bool(group.share(group.leads and ray.get(desk.is_asked.remote())))

    try:
        store = open_store(settings["out"])
        fitted = fit(
            config,
            begun_dataset(store, settings["dataset"], config),
            store,
            say=desk.say.remote,
            group=group,
            should_stop=should_stop,
            is_leaving=is_leaving,
            local_rank=get_context().get_local_rank(),
        )
    except EditmillError as error:
        # Perhaps of this worker alone, while the others wait for it: raised, it ends them too. Those that
        # Ray starts after it look at the desk first.
        if error.exit_code != EditmillError.exit_code:
            ray.get(desk.fail.remote(deeds.outward(error)))
        group.leave()
        raise
    except RuntimeError:
        notice.outlive()
        raise
    finally:
        # The others may lose a peer while this one still stores.
        if group.leads:
            ray.get(desk.end.remote())
    return asdict(fitted)


def _trainer(compute: Where, settings: dict[str, Any], scratch: str) -> TorchTrainer:
    workers: int | tuple[int, int] = compute.min_workers
    if compute.max_workers > compute.min_workers:
        workers = (compute.min_workers, compute.max_workers)
    held = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {"CPU": 1.0}
    # Ray takes NCCL for whoever holds a GPU, also where that is not computed on.
    backend = "gloo" if compute.device == "cpu" else None
    return TorchTrainer(
        train,
        train_loop_config=settings,
        torch_config=TorchConfig(backend=backend),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=bool(compute.gpus_per_worker),
            resources_per_worker=held,
            elastic_resize_monitor_interval_s=RESIZE_EVERY_S,
        ),
        run_config=RunConfig(
            name=f"editmill-{secrets.token_hex(4)}",
            storage_path=scratch,
            # No `preemption_grace_s`: `Pause` waits for a notice's checkpoint, and for nothing else.
            failure_config=FailureConfig(max_failures=compute.failures),
            callbacks=[controller_callback(Pause(settings["desk"]).changed)],
        ),
    )
