from pathlib import Path

import pytest

from cluster.description import read_cluster
from factory.errors import ConfigError
from schemas.running.cluster import names_a_secret


def _refused(tmp_path: Path, text: str) -> str:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_cluster(str(file))
    assert refused.value.exit_code == 2
    return str(refused.value).replace(str(file), "FILE")


def test_every_key_is_read_and_the_folder_is_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "cluster.yaml").write_text(
        "address: https://ray.example/cluster/\n"
        "working_dir: code\n"
        "entrypoint_num_cpus: 1\n"
        "env_vars: {HF_HOME: /models, TOKENIZERS_PARALLELISM: 'false'}\n"
        "submission_id: rebuild-1\n"
    )
    cluster = read_cluster(str(tmp_path / "cluster.yaml"))
    assert cluster.address == "https://ray.example/cluster"
    assert cluster.working_dir == str(tmp_path / "code")
    assert cluster.entrypoint_num_cpus == 1.0
    assert cluster.env_vars["HF_HOME"] == "/models"
    assert cluster.submission_id == "rebuild-1"


def test_local_stands_for_a_file() -> None:
    assert read_cluster("local").address == "local"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "address: local\nworkin_dir: .",
            "FILE:2: unknown key 'workin_dir'; did you mean 'working_dir'?",
        ),
        (
            "address: local\ncolour: red",
            "FILE:2: unknown key 'colour'; known: address, working_dir,",
        ),
        ("working_dir: .", "FILE: address: missing"),
        (
            "address: ray://head:10001",
            "FILE:1: address: must be `local` or http(s)://host:port, got",
        ),
        ("address: local\nworking_dir: none", "FILE:2: working_dir: must be a folder or a zip at"),
        ("address: local\nentrypoint_num_cpus: -1", "FILE:2: entrypoint_num_cpus: Input should be"),
        (
            "address: local\nenv_vars: {A: 1}",
            "FILE:2: env_vars.A: Input should be a valid string, got 1",
        ),
        ("address: local\nsubmission_id: a b", "FILE:2: submission_id: String should match"),
        ("- address", "FILE: must be a YAML mapping"),
        ("address: [", "FILE:1: not valid YAML"),
    ],
)
def test_a_refusal_names_the_line_and_the_rule(tmp_path: Path, text: str, message: str) -> None:
    assert message in _refused(tmp_path, text)


@pytest.mark.parametrize(
    "line",
    [
        "AWS_SECRET_ACCESS_KEY: hidden-thing",
        "HF_TOKEN: hidden-thing",
        "OPENAI_API_KEY: hidden-thing",
        "apikey: hidden-thing",
        "DB_PASSWORD: hidden-thing",
        "HF_TOKEN: [hidden-thing]",
        "PROXY: http://me:hidden-thing@proxy",
        "PLAIN: hf_hiddenthinghiddenthinghidden-thing",
    ],
)
def test_a_secret_among_the_variables_is_refused_and_not_repeated(
    tmp_path: Path, line: str
) -> None:
    message = _refused(tmp_path, f"address: local\nenv_vars:\n  {line}\n")
    assert message.startswith("FILE:2: env_vars: ")
    assert "Set it on the nodes" in message
    assert "hidden" not in message


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    assert "hidden" not in _refused(tmp_path, "address: http://me:hidden@head:8265")


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "HF_HOME", "OMP_NUM_THREADS"]
)
def test_ordinary_names_are_not_taken_for_secrets(name: str) -> None:
    assert not names_a_secret(name)
