import re
from typing import Any

import jsonschema
import pytest

from tests.cluster.autoscaler import idle_timeout_s, launched
from tests.cluster.kuberay import as_autoscaler_reads, check, cluster_of, groups_of
from tests.cluster.shipped import ROOT, changed, constrained, read

FILES = [(name, options) for name in ("rayjob", "raycluster") for options in (False, True)]
SPEC = {"rayjob": ("spec", "rayClusterSpec"), "raycluster": ("spec",)}
CONTAINER = ("template", "spec", "containers", 0)


@pytest.fixture(params=FILES, ids=lambda case: f"{case[0]}{'-with-options' * case[1]}")
def file(request: pytest.FixtureRequest) -> Any:
    name, options = request.param
    return read(f"kuberay/{name}.yaml", options)


@pytest.fixture
def job() -> Any:
    return read("kuberay/rayjob.yaml")


def test_kuberay_knows_every_field(file: Any) -> None:
    check(file)


@pytest.mark.parametrize("name", SPEC)
@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("autoscalerOptions", "idleTimeoutSecond"), 5, "idleTimeoutSecond"),
        (("autoscalerOptions", "version"), "v3", "v3"),
        (("workerGroupSpecs", 0, "maxReplica"), 8, "maxReplica"),
        (("workerGroupSpecs", 0, "maxReplicas"), "8", "'8' is not of type"),
        (("headGroupSpec", *CONTAINER, "env", 0), {"name": "A", "value": 60}, "60 is not of type"),
        (("workerGroupSpecs", 0, *CONTAINER, "envFroms"), [], "envFroms"),
        (("workerGroupSpecs", 0, "template", "spec", "gracePeriod"), 90, "gracePeriod"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0, "0 is not of type"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_or_value_is_found(
    name: str, place: tuple[str | int, ...], value: Any, said: str
) -> None:
    file = changed(read(f"kuberay/{name}.yaml"), (*SPEC[name], *place), value)
    with pytest.raises(jsonschema.ValidationError, match=re.escape(said)):
        check(file)


def test_all_images_name_the_constrained_version_of_ray(file: Any) -> None:
    assert cluster_of(file)["rayVersion"] == constrained("ray")
    for group in groups_of(file):
        image = group["template"]["spec"]["containers"][0]["image"]
        assert image == f"FILL-IN/editmill:{constrained('ray')}"


def test_the_cluster_asks_for_a_token_and_its_head_takes_no_work(file: Any) -> None:
    assert cluster_of(file)["authOptions"] == {"mode": "token"}
    assert "entrypointNumCpus" not in file["spec"]
    types = as_autoscaler_reads(file)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["headgroup"]["max_workers"] == 0


def test_gpu_workers_come_with_work_up_to_the_bound_and_are_spot(file: Any) -> None:
    assert cluster_of(file)["enableInTreeAutoscaling"] is True
    assert cluster_of(file)["autoscalerOptions"]["version"] == "v2"
    config = as_autoscaler_reads(file)
    assert launched(config, 0) == {}
    assert launched(config, 3) == {"gpu-spot": 3}
    assert launched(config, 100) == {"gpu-spot": 8}
    # Longer than a start takes, shorter than a bill would notice.
    assert idle_timeout_s(config) == 300
    spot = config["available_node_types"]["gpu-spot"]
    assert spot["labels"] == {"ray.io/market-type": "spot"}
    assert spot["resources"]["GPU"] == 1


def test_nodes_on_demand_come_only_where_they_are_let_and_spot_ones_cannot_be_had() -> None:
    file = read("kuberay/raycluster.yaml")
    shortage = {"gpu-spot": 0.0}
    config = as_autoscaler_reads(file)
    assert launched(config, 3, recoverable_resource_availabilities=shortage) == {"gpu-spot": 3}
    opened = changed(file, ("spec", "workerGroupSpecs", 1, "maxReplicas"), 2)
    config = as_autoscaler_reads(opened)
    assert launched(config, 3) == {"gpu-spot": 3}
    assert launched(config, 3, recoverable_resource_availabilities=shortage) == {
        "gpu-on-demand": 2,
        "gpu-spot": 1,
    }


def test_no_gpu_comes_for_work_that_asks_for_none() -> None:
    config = as_autoscaler_reads(read("kuberay/raycluster.yaml"))
    assert launched(config, 5, "CPU") == {"cpu-spot": 2}
    assert launched(config, 12, "CPU") == {"cpu-spot": 4}


def test_pods_fit_the_machines_of_the_walk_through() -> None:
    """A pod that asks for more than its machine has never starts: the system keeps a tenth or so."""
    (machine,) = re.findall(
        r"create gpu-spot .*--machine-type (\S+)", (ROOT / "docs/cluster.md").read_text()
    )
    cpus, memory_gib = {"g2-standard-4": (4, 16), "g2-standard-8": (8, 32)}[machine]
    for name in SPEC:
        for group in groups_of(read(f"kuberay/{name}.yaml")):
            (container,) = group["template"]["spec"]["containers"]
            asked = container["resources"]["requests"]
            if "nvidia.com/gpu" in asked:
                assert int(asked["cpu"]) <= 0.9 * cpus
                assert int(asked["memory"].removesuffix("Gi")) <= 0.85 * memory_gib


def test_a_group_without_a_bound_would_have_none(file: Any) -> None:
    for group in cluster_of(file)["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] == group["replicas"] <= group["maxReplicas"] <= 1000
        unbounded = {key: value for key, value in group.items() if key != "maxReplicas"}
        spoilt = changed(file, [*SPEC[_name(file)], "workerGroupSpecs", 0], unbounded)
        with pytest.raises(
            jsonschema.ValidationError, match="'maxReplicas' is a required property"
        ):
            check(spoilt)


def test_a_job_finds_room_for_all_its_workers(job: Any) -> None:
    wanted = re.search(r"compute\.max_workers=(\d+)", job["spec"]["entrypoint"])
    assert wanted
    assert cluster_of(job)["workerGroupSpecs"][0]["maxReplicas"] >= int(wanted[1])


def test_kubernetes_waits_longer_than_ray_drains_and_starts_no_pod_again(file: Any) -> None:
    for group in groups_of(file):
        pod = group["template"]["spec"]
        variables = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        drain_s = int(variables["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert pod["terminationGracePeriodSeconds"] >= max(60, drain_s + 10)
        assert pod["restartPolicy"] == "Never"


def test_keys_come_from_a_secret_and_nothing_runs_as_root(file: Any) -> None:
    for group in groups_of(file):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "editmill-s3"}}]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_gpu_pods_go_where_gpus_are_and_nothing_else_may(file: Any) -> None:
    for group in cluster_of(file)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        # Pools of spot nodes are tainted by the same label by which they are chosen.
        of_spot = {t["key"]: t["value"] for t in pod.get("tolerations", ()) if "value" in t}
        is_spot = "on-demand" not in group["groupName"]
        assert of_spot == ({"FILL-IN/capacity-type": "FILL-IN-spot"} if is_spot else {})
        assert of_spot.items() <= pod["nodeSelector"].items()
        if group["groupName"] == "cpu-spot":
            assert "nvidia.com/gpu" not in str(pod)
            continue
        gpus = pod["containers"][0]["resources"]
        assert gpus["requests"]["nvidia.com/gpu"] == gpus["limits"]["nvidia.com/gpu"] == "1"
        tainted = {(t["key"], t["effect"]) for t in pod["tolerations"]}
        assert ("nvidia.com/gpu", "NoSchedule") in tainted
        assert "FILL-IN/gpu-model" in pod["nodeSelector"]


def test_mounted_weights_are_mounted_in_every_pod_and_looked_for_there() -> None:
    files = [read(f"kuberay/{name}.yaml", options=True) for name in SPEC]
    for group in [group for file in files for group in groups_of(file)]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"]
        assert {"name": "HF_HOME", "value": mount["mountPath"]} in container["env"]
        assert mount["readOnly"] is volume["persistentVolumeClaim"]["readOnly"] is True


def test_a_queue_is_an_option() -> None:
    for name in SPEC:
        assert "labels" not in read(f"kuberay/{name}.yaml")["metadata"]
        chosen = read(f"kuberay/{name}.yaml", options=True)
        assert set(chosen["metadata"]["labels"]) == {"kueue.x-k8s.io/queue-name"}
    # Kueue takes no RayJob that would leave its cluster behind.
    assert read("kuberay/rayjob.yaml")["spec"]["shutdownAfterJobFinishes"] is True


def _name(file: Any) -> str:
    return str(file["kind"]).lower()
