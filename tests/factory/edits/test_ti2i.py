"""Plug-and-Play's benchmarks: every target prompt a request of its own, pictures found beside the list."""

import pytest
from PIL import Image

from factory.edits.listing import read_requests
from factory.errors import ListError
from schemas.editors import Pnp
from schemas.edits import EditRecipe

LIST = """\
- init_img: /ImageNetR-TI2I/panda/Cartoon_30.jpg
  target_prompts:
  - an origami of a panda
  - a sculpture of a panda
- init_img: ./wild/horse.png
  source_prompt: a photo of a horse
  target_prompts: ["a bronze horse, 3:2"]
"""


def read(folder, text, max_bad=0):
    for name in ("panda/cartoon_30.jpg", "wild/horse.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "imnetr-ti2i.yaml").write_text(text)
    recipe = EditRecipe(editor="pnp", pnp=Pnp(model={"source": "miniature"}), images=str(folder))
    return read_requests(str(folder / "imnetr-ti2i.yaml"), recipe, max_bad)


def test_every_target_prompt_is_a_request(tmp_path):
    items = list(read(tmp_path, LIST).items)
    assert {(one.image, one.key, one.source_caption, one.target_caption) for one in items} == {
        ("panda/cartoon_30.jpg", "panda/cartoon_30-0.jpg", None, "an origami of a panda"),
        ("panda/cartoon_30.jpg", "panda/cartoon_30-1.jpg", None, "a sculpture of a panda"),
        ("wild/horse.png", "wild/horse-0.png", "a photo of a horse", "a bronze horse, 3:2"),
    }
    assert {one.editor for one in items} == {"pnp"}


def test_a_name_that_is_there_exactly_counts_before_one_in_other_letters(tmp_path):
    for name in ("A.jpg", "a.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    entries = "".join(
        f"- {{init_img: {name}, target_prompts: [x]}}\n" for name in ("A.jpg", "a.jpg")
    )
    found = [one.image for one in read(tmp_path, entries).items]
    assert found == ["A.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("init_img: a.png", "must be a list of init_img, target_prompts, got"),
        ("- a\n- [", "not valid YAML"),
        ("- {init_img: /x/a.png, target_prompts: [b]}", "a picture beside the list, got '/x/a.png'"),
        ("- {init_img: wild/horse.png, target_prompts: b}", 'field "target_prompts": expected a list of'),
        ("- {target_prompts: [b]}", 'field "init_img": expected a path, got None'),
        ("- {init_img: wild/horse.png, target_prompts: [3]}", "expected text, got 3"),
        ("- wild/horse.png", "entry must be a mapping, got 'wild/horse.png'"),
        ("[]", "must hold at least one request, got none"),
    ],
)  # fmt: skip
def test_what_is_no_such_list_is_refused(text, message, tmp_path):
    with pytest.raises(ListError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).startswith("imnetr-ti2i.yaml")


def test_bad_entries_may_be_left_out(tmp_path):
    listed = read(tmp_path, LIST + "- {init_img: gone.png, target_prompts: [x]}\n", max_bad=1)
    assert len(list(listed.items)) == 3
    assert len(listed.bad) == 1
