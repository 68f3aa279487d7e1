"""KubeRay 1.7's definitions (ray.io/v1), as far as the files here use them, and Kubernetes' own below."""

from typing import Any

import jsonschema

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
NAMES = {"type": "object", "additionalProperties": TEXT}


def _record(required: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
        "required": required.split(),
    }


def _list(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def _one_of(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


RESOURCES = _record(requests=NAMES, limits=NAMES)
CONTAINER = _record(
    "name image resources",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=_one_of("Always", "IfNotPresent", "Never"),
    ports=_list(_record("containerPort", containerPort=COUNT, name=TEXT)),
    env=_list(_record("name value", name=TEXT, value=TEXT)),
    envFrom=_list(_record("secretRef", secretRef=_record("name", name=TEXT))),
    resources=RESOURCES,
    securityContext=_record(allowPrivilegeEscalation=FLAG),
    volumeMounts=_list(_record("name mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
TOLERATION = _record(
    "key operator",
    key=TEXT,
    operator=_one_of("Exists", "Equal"),
    value=TEXT,
    effect=_one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
)
CLAIM = _record("claimName", claimName=TEXT, readOnly=FLAG)
POD = _record(
    "containers restartPolicy",
    restartPolicy=_one_of("Never", "Always", "OnFailure"),
    terminationGracePeriodSeconds=COUNT,
    securityContext=_record(runAsNonRoot=FLAG, runAsUser=COUNT),
    serviceAccountName=TEXT,
    containers=_list(CONTAINER),
    nodeSelector=NAMES,
    tolerations=_list(TOLERATION),
    volumes=_list(_record("name persistentVolumeClaim", name=TEXT, persistentVolumeClaim=CLAIM)),
)
TEMPLATE = _record("spec", metadata=_record(labels=NAMES, annotations=NAMES), spec=POD)
HEAD = _record(
    "rayStartParams template",
    rayStartParams=NAMES,
    template=TEMPLATE,
    labels=NAMES,
    resources=NAMES,
    serviceType=TEXT,
)
WORKERS = _record(
    "groupName minReplicas maxReplicas rayStartParams template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    labels=NAMES,
    resources=NAMES,
    priority={"type": "integer"},
    rayStartParams=NAMES,
    suspend=FLAG,
    template=TEMPLATE,
)
CLUSTER = _record(
    "rayVersion headGroupSpec",
    rayVersion=TEXT,
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=_record(
        version=_one_of("v1", "v2"),
        idleTimeoutSeconds=COUNT,
        upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
    ),
    authOptions=_record(
        mode=_one_of("token", "disabled"), secretName=TEXT, enableK8sTokenAuth=FLAG
    ),
    suspend=FLAG,
    headGroupSpec=HEAD,
    workerGroupSpecs=_list(WORKERS),
)
JOB = _record(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT,
    preRunningDeadlineSeconds=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    suspend=FLAG,
    rayClusterSpec=CLUSTER,
)


def check(file: Any) -> None:
    """Raises `jsonschema.ValidationError` on a field unknown or missing, a wrong type or word."""
    spec = {"RayJob": JOB, "RayCluster": CLUSTER}[file["kind"]]
    whole = _record(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind=TEXT,
        metadata=_record("name", name=TEXT, labels=NAMES, annotations=NAMES),
        spec=spec,
    )
    jsonschema.validate(file, whole)


def cluster_of(file: Any) -> Any:
    return file["spec"] if file["kind"] == "RayCluster" else file["spec"]["rayClusterSpec"]


def groups_of(file: Any) -> list[Any]:
    cluster = cluster_of(file)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def as_autoscaler_reads(file: Any) -> Any:
    """The autoscaler's own configuration, as Ray derives it inside the head's pod."""
    # A private name of Ray's: there is no other way to what it makes of a group.
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    metadata = file["metadata"] | {"namespace": "default"}
    return _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": cluster_of(file)})
