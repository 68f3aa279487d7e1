import copy
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.autoscaler import idle_timeout_s, launched
from tests.cluster.ray_words import start_options
from tests.cluster.shipped import changed, constrained, read, text_of

CLOUDS = ("aws", "gcp")
FILES = [(cloud, options) for cloud in CLOUDS for options in (False, True)]
GROUP = ("available_node_types", "gpu-spot")
HEAD = ("available_node_types", "head")

# What EC2's RunInstances and Compute Engine's instances.insert call what these files say.
NODE_FIELDS = {
    "aws": "InstanceType ImageId IamInstanceProfile SecurityGroupIds SubnetIds "
    "InstanceMarketOptions BlockDeviceMappings KeyName",
    "gcp": "machineType disks metadata scheduling serviceAccounts guestAccelerators labels",
}
SPOT_FIELDS = {
    "aws": {"MarketType", "SpotOptions"},
    "gcp": {"provisioningModel", "instanceTerminationAction", "automaticRestart"}
    | {"onHostMaintenance"},
}
PROVIDER = {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"}


def launcher(cloud: str, options: bool = False) -> Any:
    return read(f"launchers/{cloud}.yaml", options)


def prepared(config: Any) -> Any:
    """As `ray up` has it before it asks the cloud anything."""
    whole = prepare_config(copy.deepcopy(config))
    validate_config(whole)
    return whole


def check_names(cloud: str, config: Any) -> None:
    """What Ray's schema leaves open: the provider's and the cloud's own names."""
    unknown = set(config["provider"]) - PROVIDER
    assert not unknown, f"provider: {unknown}"
    for name, node in config["available_node_types"].items():
        unknown = set(node["node_config"]) - set(NODE_FIELDS[cloud].split())
        assert not unknown, f"{name}: {unknown}"
    node = config["available_node_types"]["gpu-spot"]["node_config"]
    spot = node["InstanceMarketOptions"] if cloud == "aws" else node["scheduling"]
    assert set(spot) <= SPOT_FIELDS[cloud]


@pytest.mark.parametrize(("cloud", "options"), FILES)
def test_rays_own_schema_and_validator_take_the_launchers_files(cloud: str, options: bool) -> None:
    config = launcher(cloud, options)
    check_names(cloud, config)
    whole = prepared(config)
    assert whole["provider"]["type"] == cloud
    # Every command is the file's own: Ray's defaults for what is left out install another Ray.
    for key in whole:
        if key.endswith("_commands"):
            assert whole[key] == config[key], key


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("idle_timeout_minute",), 5),
        (("max_workers",), "8"),
        (("docker", "images"), "x"),
        ((*GROUP, "max_worker"), 8),
        ((*GROUP, "resources", "GPU"), "1"),
        (("head_node_type",), "gpu"),
        (("auth", "user"), "ubuntu"),
    ],
)
def test_rays_own_validator_refuses_a_wrong_key_or_value(
    cloud: str, place: tuple[str, ...], value: Any
) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        prepared(changed(launcher(cloud), place, value))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    "place", [("provider", "zone"), (*GROUP, "node_config", "instance_type")], ids=str
)
def test_a_wrong_name_of_the_clouds_own_is_found(cloud: str, place: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match=place[-1]):
        check_names(cloud, changed(launcher(cloud), place, "x"))


@pytest.mark.parametrize(("cloud", "options"), FILES)
def test_gpu_workers_come_with_work_up_to_the_bound_and_are_spot(cloud: str, options: bool) -> None:
    config = launcher(cloud, options)
    assert launched(config, 0) == {}
    assert launched(config, 3) == {"gpu-spot": 3}
    assert launched(config, 100) == {"gpu-spot": 8}
    assert config["max_workers"] == config["available_node_types"]["gpu-spot"]["max_workers"] == 8
    assert idle_timeout_s(config) == 300
    node = config["available_node_types"]["gpu-spot"]
    assert node["labels"] == {"ray.io/market-type": "spot"}
    assert node["min_workers"] == 0
    if cloud == "aws":
        assert node["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    else:
        assert node["node_config"]["scheduling"]["provisioningModel"] == "SPOT"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_gpu_comes_for_work_that_asks_for_none(cloud: str) -> None:
    assert launched(launcher(cloud), 5, "CPU") == {"cpu-spot": 2}


@pytest.mark.parametrize(("vendor", "asks"), [("0x10de", 3), ("0x8086", 0)])
def test_google_waits_for_a_driver_where_there_is_a_card(
    vendor: str, asks: int, tmp_path: Path
) -> None:
    (command,) = (one for one in launcher("gcp")["initialization_commands"] if "nvidia" in one)
    (tmp_path / "vendor").write_text(f"{vendor}\n")
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/asked\n[ $(wc -l < {tmp_path}/asked) -ge 3 ]\n"
    )
    smi.chmod(0o755)
    here = command.replace("/sys/bus/pci/devices/*/vendor", str(tmp_path / "vendor"))
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", "-c", here.replace("sleep 5", "sleep 0")]
    subprocess.run(words, env={"PATH": path}, check=True)
    asked = tmp_path / "asked"
    assert (asked.read_text().count("x") if asked.exists() else 0) == asks


def test_what_is_launched_follows_the_file() -> None:
    config = launcher("aws")
    assert launched(changed(config, (*GROUP, "min_workers"), 2), 0) == {"gpu-spot": 2}
    assert launched(changed(config, (*GROUP, "max_workers"), 5), 100) == {"gpu-spot": 5}
    assert launched(changed(config, (*HEAD, "resources"), {"CPU": 4, "GPU": 1}), 1) != {}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_head_is_on_demand_and_takes_no_work(cloud: str) -> None:
    config = launcher(cloud)
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "scheduling" not in head["node_config"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_rays_own_command_line_takes_the_start_commands(cloud: str) -> None:
    config = launcher(cloud)
    (head,) = config["head_start_ray_commands"]
    options = start_options(head)
    assert options["head"]
    assert options["port"] == 6379
    # The dashboard takes jobs: it is reached through ssh, and from nowhere else.
    assert options["dashboard_host"] == "127.0.0.1"
    assert options["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    worker, notice = config["worker_start_ray_commands"]
    assert start_options(worker)["address"] == "$RAY_HEAD_IP:6379"
    assert f" python -m cluster.notice {cloud} " in notice
    for command in (head, worker, notice):
        assert command.startswith("export RAY_AUTH_MODE=token; ")
        assert "ray stop" not in command
    with pytest.raises(click.UsageError, match="No such option"):
        start_options(worker.replace("--address", "--adress"))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_head_workers_and_submitter_share_a_token_that_the_file_does_not_hold(cloud: str) -> None:
    config = launcher(cloud)
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    for name in re.findall(
        r"AWS_\w+(?==)|RAY_AUTH_TOKEN=", text_of(f"launchers/{cloud}.yaml", True)
    ):
        assert name in ("AWS_ENDPOINT_URL", "AWS_REGION"), name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_launchers_image_has_the_constrained_version_of_ray(cloud: str) -> None:
    image = launcher(cloud)["docker"]["image"]
    assert image == f"FILL-IN/editmill:{constrained('ray')}"
