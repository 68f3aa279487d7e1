"""Models out of buckets: whole or not there, each version its own, and nothing but what is read."""

import shutil
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from factory.errors import ModelError, StorageUnavailable
from factory.models import fetch as model_cache
from factory.models.find import files_below, model_folder
from factory.models.pin import pin
from schemas.recipe import Lora, ModelSource
from tests.bad_input.materials import PICKLE, UNET_SHAPES, models, safetensors, weights
from tests.chaos.stores.memory_store import MemoryStore
from tests.factory.engine.family import recipe
from tests.factory.ledger.interrupted_store import Interrupted

URI = "s3://bucket/models/t2i"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "editmill" / "models"


@pytest.fixture
def stores(monkeypatch):
    """By their URIs; a folder that passes for a model lies below `URI`."""
    found = defaultdict(MemoryStore)
    monkeypatch.setattr(model_cache, "open_store", found.__getitem__)
    models()
    put(found[URI], Path("t2i"))
    return found


def put(store, folder):
    for file in files_below(folder):
        store.put(file.relative_to(folder).as_posix(), file.read_bytes())


def folder(uri=URI, role="text_to_image", **fields):
    return model_folder(ModelSource(source=uri, **fields), role)


def versions(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_model_is_fetched_once_for_this_user_alone(stores, cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o755)
    place = folder(f"{URI}/")
    assert place.name == "t2i"
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [f.relative_to(place) for f in files_below(place)] == [
        file.relative_to("t2i") for file in files_below(Path("t2i"))
    ]
    monkeypatch.setattr(stores[URI], "get", None)
    assert folder() == place


def test_it_is_pinned_by_the_hashes_that_a_local_folder_has(stores):
    layer = "unet.conv_in.lora"
    matrices = {f"{layer}_A.weight": (1, 4, 3, 3), f"{layer}_B.weight": (4, 1, 1, 1)}
    stores["s3://bucket/models"].put("lora.safetensors", weights(matrices))
    put(stores["s3://bucket/clip"], Path("clip"))
    local, size = recipe(Path(), size_px=8, text_to_image=ModelSource(source="t2i")), {"size_px": 8}
    there = {
        "text_to_image": ModelSource(source=URI),
        "clip": ModelSource(source="s3://bucket/clip"),
    }
    pinned = pin(recipe(Path(), **size, **there))
    assert pinned.recipe_hash == pin(local).recipe_hash
    assert pinned.text_to_image.source == URI
    assert pin(pinned) == pinned
    single = Lora(source="s3://bucket/models/lora.safetensors")
    with_lora = pin(recipe(Path(), **size, **there, loras=(single,)))
    assert [list(lora.files) for lora in with_lora.loras] == [["lora.safetensors"]]


def test_nothing_is_fetched_but_what_is_read(stores):
    for name in ("unet/model.bin", "unet/model.fp16.safetensors", "unet/code.py", "sd.ckpt"):
        stores[URI].put(name, PICKLE)
    # Of another program's console, or of somebody else.
    stores[URI].put("unet/deep/config.json", b"{}")
    suffixes = {file.suffix for file in files_below(folder())}
    assert suffixes == {".json", ".safetensors", ".txt"}
    assert not (folder() / "unet" / "deep").exists()
    assert not (folder() / "unet" / "model.fp16.safetensors").exists()


def test_what_changed_in_the_bucket_is_fetched_anew(stores, cache):
    first = folder()
    stores[URI].clock += 1
    stores[URI].put("unet/diffusion_pytorch_model.safetensors", safetensors(values=b"abcd"))
    second = folder()
    assert second != first
    assert (second / "unet/diffusion_pytorch_model.safetensors").read_bytes().endswith(b"abcd")
    assert (first / "unet/diffusion_pytorch_model.safetensors").read_bytes() == weights(UNET_SHAPES)
    stores[URI].put("vae/more.json", b"{}")
    assert (folder() / "vae/more.json").read_bytes() == b"{}"
    assert len(versions(cache)) == 3


def test_equal_listings_of_two_addresses_are_two_models(stores):
    for word in ("one", "two"):
        stores[f"s3://bucket/{word}"].put("a.safetensors", word.encode())
    found = [folder(f"s3://bucket/{word}", "lora") / "a.safetensors" for word in ("one", "two")]
    assert [file.read_bytes() for file in found] == [b"one", b"two"]


def test_a_worker_refuses_other_files_than_were_pinned(stores):
    pinned = pin(recipe(Path(), size_px=8, text_to_image=ModelSource(source=URI))).text_to_image
    assert folder(files=pinned.files) == folder()
    stores[URI].clock += 1
    stores[URI].put("unet/diffusion_pytorch_model.safetensors", safetensors(values=b"abcd"))
    with pytest.raises(ModelError, match=r"t2i: must hold .* others: unet/diff.*"):
        folder(files=pinned.files)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageUnavailable])
def test_an_interrupted_fetch_leaves_nothing(stores, cache, monkeypatch, error):
    monkeypatch.setattr("time.sleep", lambda _: None)
    inner = stores[URI]

    def stop():
        raise error("no answer")

    class Stopping(Interrupted):
        def get(self, key):
            self.beside = stop if key.startswith("unet/") else None
            return super().get(key)

    stores[URI] = Stopping(inner, "before", "get", "", None)
    with pytest.raises(error):
        folder()
    assert versions(cache) == []
    stores[URI] = inner
    assert files_below(folder())


def test_what_a_killed_process_left_is_not_used(stores, cache, monkeypatch):
    # A process that is killed tidies nothing up.
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        inner = stores[URI]
        stores[URI] = Interrupted(inner, "before", "get", "unet/diff", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            folder()
    (left,) = versions(cache)
    assert left.suffix == ".half"
    (left / "t2i" / "unet" / "planted.json").write_text("{}")
    stores[URI] = inner
    assert not (folder() / "unet" / "planted.json").exists()
    assert versions(cache) == [folder().parent]


@pytest.mark.parametrize("lost", ["unet/diffusion_pytorch_model.safetensors", "../.sha256.json"])
def test_a_model_of_which_files_were_removed_is_fetched_again(stores, lost):
    (folder() / lost).unlink()
    assert (folder() / lost).is_file()


def test_a_model_that_changes_while_it_is_fetched_is_refused(stores, cache):
    inner = stores[URI]

    def change():
        inner.clock += 1
        inner.put("vae/diffusion_pytorch_model.safetensors", safetensors(values=b"abcd"))

    stores[URI] = Interrupted(inner, "before", "get", "vae/diff", change)
    with pytest.raises(ModelError, match=r"s3://bucket/models/t2i: must stay as it is while"):
        folder()
    assert versions(cache) == []
    assert (folder() / "vae/diffusion_pytorch_model.safetensors").read_bytes().endswith(b"abcd")


def test_of_two_at_one_moment_one_fetches(stores):
    inner, asked = stores[URI], []

    class Slow(Interrupted):
        def get(self, key):
            asked.append(key)
            time.sleep(0.02)
            return super().get(key)

    stores[URI] = Slow(inner, "before", "get", "", None)
    found = []
    threads = [threading.Thread(target=lambda: found.append(folder())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(asked) == len({*asked})


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a/../../x.json", "..\\x.json", ".x/y", "a//b"]
)
def test_names_that_leave_the_folder_are_refused(stores, cache, name):
    class Hostile(Interrupted):
        """As no store of this project lists."""

        def list(self, prefix=""):
            infos = [*super().list(prefix)]
            return iter([*infos, replace(infos[0], key=name)])

    stores[URI] = Hostile(stores[URI], "before", "get", "", None)
    with pytest.raises(ModelError, match=r"t2i: names must be plain parts .*, got "):
        folder()
    assert not cache.exists()


def test_what_is_too_much_for_a_model_is_refused_before_it_is_fetched(stores, monkeypatch):
    monkeypatch.setattr(stores[URI], "get", None)
    with monkeypatch.context() as few:
        few.setattr(model_cache, "MOST_OBJECTS", 3)
        with pytest.raises(ModelError, match="t2i: must hold at most 3 objects, got more"):
            folder()
    monkeypatch.setattr(model_cache, "MOST_BYTES", 100)
    with pytest.raises(ModelError, match=r"t2i: must be at most 100 bytes, got \d{3}"):
        folder()


def test_what_is_no_model_is_named(stores):
    stores["s3://bucket/run"].put("editor/unet/diffusion_pytorch_model.safetensors", b"")
    stores["s3://bucket/run"].put("FIT.json", b"")
    for uri, got in {
        "s3://bucket/run": "FIT.json, editor",
        "s3://bucket/none": "no objects",
    }.items():
        with pytest.raises(ModelError, match=rf"^{uri}: must be a model's folder .*, got {got}$"):
            folder(uri)
    with pytest.raises(ModelError, match=r"^s3://bucket/a\.safetensors: no such object$"):
        folder("s3://bucket/a.safetensors")


def test_a_folder_that_cannot_be_written_is_named(stores, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ModelError, match=r"cache/editmill/models: .* \(XDG_CACHE_HOME\), got "):
        folder()


def test_a_line_is_said_of_each_file_that_is_fetched_and_none_of_what_is_here(stores, capsys):
    place = folder()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(files_below(place))
    size = (place / "unet/config.json").stat().st_size
    assert f"fetches {URI}/unet/config.json, {size} bytes" in said
    folder()
    assert capsys.readouterr().err == ""


def test_a_large_file_comes_in_parts_and_says_how_far_it_is(stores, capsys, monkeypatch):
    clock, name = iter(range(0, 600, 6)), "unet/diffusion_pytorch_model.safetensors"
    size = len(stores[URI].get(name))
    monkeypatch.setattr(model_cache, "PART", -(-size // 5))
    monkeypatch.setattr(model_cache.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(stores[URI], "get", dict(stores[URI].objects).__getitem__)
    of_parts, whole = stores[URI].get_part, []

    def part(key, first, count):
        whole.append((key, count))
        # Fewer than were asked for, as where a reply is cut.
        return of_parts(key, first, count if len(whole) > 1 else count - 1)

    monkeypatch.setattr(stores[URI], "get_part", part)
    place = folder()
    assert (place / name).read_bytes() == (Path("t2i") / name).read_bytes()
    assert max(count for _, count in whole) <= model_cache.PART
    said = [line for line in capsys.readouterr().err.splitlines() if f"{name}: " in line]
    # A line every ten seconds of a clock that gains six a part.
    assert said[0].endswith("of 0 MB, 18 s left")
    assert 2 <= len(said) <= len([one for one in whole if one[0] == name]) / 2


def test_a_part_of_which_only_variants_are_there_is_told_before_anything_is_fetched(stores, cache):
    store = stores[URI]
    store.put("unet/diffusion_pytorch_model.fp16.safetensors", PICKLE)
    assert folder()
    store.delete("unet/diffusion_pytorch_model.safetensors")
    message = (
        r"t2i: weights .* only unet/diffusion_pytorch_model\.fp16\.safetensors, a variant that is "
        r"not read; copy the folder, rename it to diffusion_pytorch_model\.safetensors, and name the copy"
    )
    before = versions(cache)
    with pytest.raises(ModelError, match=message):
        folder()
    assert versions(cache) == before


def test_what_comes_cut_is_fetched_again(stores, monkeypatch):
    store, left = stores[URI], [2]
    get = store.get

    def cut(key):
        left[0] -= 1
        return get(key)[: -1 if left[0] >= 0 else None]

    monkeypatch.setattr(store, "get", cut)
    place = folder()
    assert [f.read_bytes() for f in files_below(place)] == [
        (Path("t2i") / f.relative_to(place)).read_bytes() for f in files_below(place)
    ]
