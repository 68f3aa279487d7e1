"""`train-language` on Ray Train: the same function on every worker of a group that may be started again."""

import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from factory import deeds
from factory.errors import EditmillError
from factory.on_ray.session import connect
from schemas.training.language import LanguageWhere, TrainLanguage
from trainer.language.train import Learned, train
from trainer.learning.group import Group
from trainer.on_ray.workers import run_workers


def train_on_ray(config: TrainLanguage, lines: Path, out: Path) -> Learned:
    """Train on the cluster that is there, or on this machine, in a folder that every worker sees.

    SIGTERM has a checkpoint written and ends it. Raises as `run_workers`.
    """
    compute = connect(config.compute)
    settings = {
        "config": config.model_copy(update={"compute": compute}).model_dump_json(),
        "lines": str(lines.absolute()),
        "out": str(out.absolute()),
    }
    trained = run_workers(
        lambda desk, scratch: _trainer(compute, settings | {"desk": desk}, scratch),
        compute.failures,
    )
    return Learned(**trained)


def learn(settings: dict[str, Any]) -> dict[str, Any] | None:
    """One worker, from its start to the end of the training."""
    deeds.anew()
    config, desk = TrainLanguage.model_validate_json(settings["config"]), settings["desk"]
    group = Group()
    if ray.get(desk.problem.remote()) is not None:
        return None
    if group.leads:
        ray.get(desk.begin.remote(ray.get_runtime_context().current_actor))
        ray.get(desk.set_up.remote(True))

    def should_stop() -> bool:
        return bool(group.share(group.leads and ray.get(desk.is_asked.remote())))

    try:
        learned = train(
            config,
            Path(settings["lines"]),
            Path(settings["out"]),
            say=desk.say.remote,
            should_stop=should_stop,
        )
    except EditmillError as error:
        ray.get(desk.fail.remote(deeds.outward(error)))
        group.leave()
        raise
    return asdict(learned)


def _trainer(compute: LanguageWhere, settings: dict[str, Any], scratch: str) -> TorchTrainer:
    held = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {"CPU": 1.0}
    return TorchTrainer(
        learn,
        train_loop_config=settings,
        # Ray takes NCCL for whoever holds a GPU, also where that is not computed on.
        torch_config=TorchConfig(backend="gloo" if compute.device == "cpu" else None),
        scaling_config=ScalingConfig(
            num_workers=compute.max_workers,
            use_gpu=bool(compute.gpus_per_worker),
            resources_per_worker=held,
        ),
        run_config=RunConfig(
            name=f"editmill-{secrets.token_hex(4)}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=compute.failures),
        ),
    )
