"""Which files a dataset is, whoever made it."""

import os
import pickle

import boto3
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.files import files_at, find_files
from factory.errors import InputError, StorageRefused
from tests.bad_input.s3 import emulator
from tests.factory.storage.crooked import crooked_server, cut_listings
from tests.trainer.small import write_pairs

NAMES = ("train-0-of-1.parquet", "part 1.parquet", "split=a/0.parquet", "b/latest.parquet")


def folder_of(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return str(folder)


def test_every_file_of_a_folder_counts_whatever_signs_its_name_has(tmp_path):
    uri = folder_of(tmp_path, *NAMES, ".hidden/0.parquet", ".0.parquet", "notes.txt")
    (tmp_path / "folder.parquet").mkdir()
    files = find_files(uri)
    assert files.names == sorted(NAMES)
    assert [files.shelf().path(number).read_bytes() for number in range(len(NAMES))] == [
        b"x"
    ] * len(NAMES)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-0.parquet", "data/test-0.parquet"),
        ("train/0.parquet", "validation/0.parquet"),
        ("train.parquet", "eval.parquet"),
    ],
)
def test_splits_are_not_joined_unasked(tmp_path, names):
    uri = folder_of(tmp_path, *names)
    with pytest.raises(InputError, match=r"holds the splits \w+, \w+; reading.files chooses one"):
        find_files(uri)
    assert find_files(uri, pattern="*train*").names == [name for name in names if "train" in name]


@pytest.mark.parametrize("names", [("train-0.parquet", "train-1.parquet"), ("testing.parquet",)])
def test_one_split_or_a_name_that_begins_like_one_is_read(tmp_path, names):
    assert find_files(folder_of(tmp_path, *names)).names == list(names)


@pytest.fixture
def bucket(monkeypatch):
    with emulator() as access:
        access.export(monkeypatch)
        client = boto3.session.Session().client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="there")
        # All emulators of a process show the same objects.
        for one in client.list_objects_v2(Bucket="there").get("Contents", []):
            client.delete_object(Bucket="there", Key=one["Key"])
        yield client


def test_names_that_a_store_cannot_read_are_refused_and_not_left_out(bucket):
    for name in ("part-0.parquet", "console/", "part 1.txt"):
        bucket.put_object(Bucket="there", Key=f"pairs/{name}", Body=b"x")
    assert find_files("s3://there/pairs").names == ["part-0.parquet"]
    bucket.put_object(Bucket="there", Key="pairs/split=a/0.parquet", Body=b"x")
    with pytest.raises(InputError, match=r"s3://there/pairs/split=a/0\.parquet: the name must be"):
        find_files("s3://there/pairs")


def test_half_of_a_dataset_is_not_taken_for_all_of_it(bucket, monkeypatch):
    for number in range(7):
        bucket.put_object(Bucket="there", Key=f"pairs/part-{number}.parquet", Body=b"x")
    with crooked_server(cut_listings(os.environ["AWS_ENDPOINT_URL"])) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StorageRefused, match="ListObjectsV2 cut the listing and gave no token"):
            find_files("s3://there/pairs")


def test_a_folder_that_may_not_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    uri, scandir = folder_of(tmp_path, *NAMES), os.scandir

    def closed(path):
        if os.fspath(path).endswith("split=a"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match="split=a: cannot be listed: Permission denied"):
        find_files(uri)


def test_a_folder_that_is_called_as_a_file_is_read_as_a_folder(tmp_path):
    parts = ["part-00000-abc.snappy.parquet", "part-00001-abc.snappy.parquet"]
    beside = ("_SUCCESS", "_metadata", "_temporary/0/part-0.parquet", "._part-0.parquet")
    uri = folder_of(tmp_path / "pairs.parquet", *parts, *beside)
    for called in (uri, f"{uri}/", f"file://{uri}"):
        assert find_files(called).names == parts
        assert not find_files(called).is_single
    one = f"{uri}/{parts[0]}"
    assert find_files(one).names == [parts[0]]
    assert find_files(one).is_single
    place = find_files(uri).place
    assert files_at(place, parts).shelf().path(1).read_bytes() == b"x"


def test_a_prefix_that_is_called_as_a_file_is_read_as_a_folder(bucket):
    for name in ("a.parquet/part-0.parquet", "a.parquet/_metadata", "b.parquet", "b.parquet.old"):
        bucket.put_object(Bucket="there", Key=name, Body=b"x")
    assert find_files("s3://there/a.parquet").names == ["part-0.parquet"]
    assert find_files("s3://there/b.parquet").names == ["b.parquet"]
    assert find_files("s3://there/c.parquet").names == ["c.parquet"]


def test_a_bucket_of_several_splits_is_told_before_names_that_cannot_be_read(bucket):
    for split in ("train", "test"):
        bucket.put_object(Bucket="there", Key=f"hive/split={split}/0.parquet", Body=b"x")
    with pytest.raises(InputError, match=r"s3://there/hive: holds the splits test, train"):
        find_files("s3://there/hive")


def test_what_was_opened_is_the_same_for_a_worker_that_knows_its_place_alone(tmp_path):
    folder = write_pairs(tmp_path)
    for uri in (folder, f"{folder}/part-1.parquet"):
        opened = Dataset.open(uri)
        place = pickle.loads(pickle.dumps(opened.files.place))
        found = Dataset.at(place, opened.columns, opened.index)
        assert (found.digest, found.rows) == (opened.digest, opened.rows)
        assert found.latents == opened.latents
        assert found.pair(1) == opened.pair(1)
