"""A chain that begins with a language model: its triplets are the next step's, and paid for once."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editmill import app
from factory.ledger.manifest import sealed_object_uris
from factory.ledger.run import open_run
from tests.factory.captions.language_server import Says, green, language_server

CAPTIONS = ("a red circle", "a red square", "a red triangle")
CHAIN = """
root: {root}
steps:
  triplets: >-
    captions --preset openai --base-url {url} --captions {captions} --set compute.where=here
    --set compute.server.patience_s=0 --set compute.server.in_flight=1 --set recipe.unit_captions=1
  pairs: >-
    generate --preset miniature --triplets ${{triplets}} --set compute.where=here --set recipe.steps=2
    --set recipe.candidates=1 --set 'recipe.thresholds={{image: -1, text: -1, direction: -1}}'
  whole: verify ${{pairs}}
"""


@pytest.mark.long
def test_captions_are_the_first_step_of_a_chain_and_no_reply_is_paid_for_twice(
    tmp_path: Path,
) -> None:
    captions, root = tmp_path / "captions.txt", tmp_path / "root"
    captions.write_text("".join(f"{one}\n" for one in CAPTIONS))
    answered: list[str] = []
    is_away = [True]

    def answer(path: str, body: dict[str, object]) -> object:
        if is_away[0] and answered:
            return Says(503)
        answered.append(json.dumps(body, sort_keys=True))
        return green(path, body)

    def chain(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["chain", str(file), *words])
        return done.exit_code, done.output

    with language_server(answer) as model:
        file = tmp_path / "chain.yaml"
        file.write_text(CHAIN.format(root=root, url=model.url, captions=captions))
        code, shown = chain("--dry-run")
        assert (code, model.asked) == (0, []), shown
        assert f"--out {root}/triplets" in shown
        code, shown = chain()
        # Nothing of the next step is begun on half a list.
        assert (code, (root / "pairs").exists()) == (3, False), shown
        assert "steps.triplets: ended with 3: it is incomplete" in shown
        is_away[0] = False
        code, shown = chain()
        assert code == 0, shown
        assert "all 3 steps are done" in shown
        code, shown = chain()
        assert (code, "triplets: is done" in shown) == (0, True)
    assert len(answered) == len(set(answered)) == len(CAPTIONS)
    pairs = open_run(str(root / "pairs"))
    assert sealed_object_uris(open_run(str(root / "triplets")))
    listed = json.loads(CliRunner().invoke(app, ["status", pairs.uri, "--json"]).stdout)
    assert (listed["triplets"], listed["counts"]["accepted"]) == (len(CAPTIONS), len(CAPTIONS))
