import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"

# The fields of KubeRay 1.7's definitions (ray.io/v1) that a file here may use.
JOB = (
    "entrypoint entrypointNumCpus entrypointNumGpus entrypointResources runtimeEnvYAML "
    "submissionMode backoffLimit activeDeadlineSeconds preRunningDeadlineSeconds "
    "shutdownAfterJobFinishes ttlSecondsAfterFinished deletionStrategy suspend managedBy "
    "clusterSelector submitterConfig rayClusterSpec"
)
RAY_CLUSTER = (
    "rayVersion enableInTreeAutoscaling autoscalerOptions authOptions gcsFaultToleranceOptions "
    "tlsOptions networkPolicy headGroupSpec workerGroupSpecs"
)
AUTOSCALER = {"version", "idleTimeoutSeconds", "upscalingMode"}
AUTHENTICATION = {"mode", "secretName", "enableK8sTokenAuth"}
HEAD = {"rayStartParams", "template", "labels", "resources"}
WORKERS = (
    "groupName replicas minReplicas maxReplicas numOfHosts idleTimeoutSeconds labels resources "
    "priority rayStartParams scaleStrategy suspend template"
)
POD = (
    "restartPolicy terminationGracePeriodSeconds securityContext containers nodeSelector "
    "tolerations serviceAccountName volumes"
)
CONTAINER = "name image ports env envFrom resources securityContext volumeMounts"


@pytest.fixture(scope="module")
def job() -> Any:
    return YAML(typ="safe").load(CLUSTER / "kuberay" / "rayjob.yaml")


@pytest.fixture(scope="module")
def ray_version() -> str:
    constraints = (ROOT / "constraints.txt").read_text()
    found = re.search(r"^ray==(\S+)$", constraints, re.MULTILINE)
    assert found
    return found[1]


def _groups(job: Any) -> list[Any]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_ray_job_uses_known_fields_only(job: Any) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) <= set(JOB.split())
    assert set(cluster) <= set(RAY_CLUSTER.split())
    assert set(cluster["autoscalerOptions"]) <= AUTOSCALER
    assert set(cluster["authOptions"]) <= AUTHENTICATION
    assert set(cluster["headGroupSpec"]) <= HEAD
    for workers in cluster["workerGroupSpecs"]:
        assert set(workers) <= set(WORKERS.split())
    for group in _groups(job):
        assert set(group["template"]["spec"]) <= set(POD.split())
        for container in group["template"]["spec"]["containers"]:
            assert set(container) <= set(CONTAINER.split())


def test_all_images_and_files_name_the_constrained_version_of_ray(
    job: Any, ray_version: str
) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray_version
    for group in _groups(job):
        image = group["template"]["spec"]["containers"][0]["image"]
        assert image.rpartition(":")[2] == ray_version
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    assert f"ARG RAY_VERSION={ray_version}\n" in dockerfile
    assert "FROM rayproject/ray:${RAY_VERSION}-" in dockerfile
    assert set(re.findall(r"\b2\.\d+\.\d+\b", dockerfile)) == {ray_version}


def test_the_cluster_asks_for_a_token_and_its_head_takes_no_work(job: Any) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "entrypointNumCpus" not in job["spec"]


def test_gpu_workers_are_spot_and_begin_at_none(job: Any) -> None:
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["labels"] == {"ray.io/market-type": "spot"}
    assert workers["minReplicas"] == workers["replicas"] == 0
    wanted = re.search(r"compute\.max_workers=(\d+)", job["spec"]["entrypoint"])
    assert wanted
    assert workers["maxReplicas"] >= int(wanted[1])
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"


def test_kubernetes_waits_longer_than_ray_drains(job: Any) -> None:
    for group in _groups(job):
        pod = group["template"]["spec"]
        variables = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        drain_s = int(variables["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert pod["terminationGracePeriodSeconds"] >= max(60, drain_s + 10)


def test_keys_come_from_a_secret_and_nothing_runs_as_root(job: Any) -> None:
    for group in _groups(job):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "editmill-s3"}}]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 1000"


def test_the_dockerfile_copies_what_exists_and_installs_by_the_constraints() -> None:
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    sources: list[str] = []
    for words in re.findall(r"^COPY --chown=1000:100 (.*)$", dockerfile, re.MULTILINE):
        sources += words.split()[:-1]
    assert {"constraints.txt", "pyproject.toml", "factory", "schemas"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "--constraint constraints.txt ." in dockerfile


def test_what_must_be_filled_in_is_marked(job: Any) -> None:
    assert "s3://FILL-IN/" in job["spec"]["entrypoint"]
    for group in _groups(job):
        assert group["template"]["spec"]["containers"][0]["image"].startswith("FILL-IN/")
