"""`train-language` on the miniature's own model of random weights: lines, a training, its resume."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from editmill import app
from factory.captions.prompts import DELIMITER_0, STOP
from factory.errors import ConfigError, InputError, ListError, ModelError, RunMismatch
from schemas.recipe import ModelSource
from schemas.training.language import LanguageLaw, LanguageWatching, LanguageWhere, TrainLanguage
from trainer.language.lines import UNLEARNED, read_lines
from trainer.language.train import prepare, train
from trainer.miniature.language import ANSWER, END, save_untrained, write_lines


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    save_untrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    file = tmp_path_factory.mktemp("lines") / "lines.jsonl"
    write_lines(file, 24)
    return file


def config(model, **law):
    here = LanguageWhere(where="here", device="cpu", gpus_per_worker=0, micro_batch=2)
    wanted = {"steps": 4, "batch": 4, "tokens": 256, "learning_rate": 1e-3, "warm_up": 1} | law
    watching = LanguageWatching(report_every=1, checkpoint_every=1)
    return TrainLanguage(
        law=LanguageLaw(model=ModelSource(source=model), **wanted), compute=here, watching=watching
    )


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_only_the_reply_is_learned_of_both_forms(model, lines):
    tokenizer = AutoTokenizer.from_pretrained(model)
    chat, completion = read_lines(lines, tokenizer, 256).lines[:2]
    for line, ends in ((chat, "}" + END), (completion, STOP + END)):
        learned = [token for token in line.labels if token != UNLEARNED]
        before = line.input_ids[: -len(learned)]
        assert line.labels == [UNLEARNED] * len(before) + learned
        assert line.input_ids == before + learned
        assert tokenizer.decode(learned).endswith(ends)
        assert tokenizer.decode(before).endswith((ANSWER, DELIMITER_0))
    assert json.loads(tokenizer.decode([t for t in chat.labels if t != UNLEARNED][:-1])).keys() == {
        "id",
        "edit",
        "edited_caption",
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            '{"prompt": "a"}',
            "1: must have `messages`, or `prompt` and `completion` as text, got prompt",
        ),
        ('{"messages": [{"role": "user", "content": "a"}]}', "1: messages must be of `role` and"),
        ("[]", "1: must be a JSON object, got list"),
        ("{", "1: must be JSON, got"),
    ],
)
def test_a_line_that_cannot_be_learned_is_named(model, tmp_path, line, words):
    file = tmp_path / "lines.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(ListError, match=words):
        read_lines(file, AutoTokenizer.from_pretrained(model), 256)


def test_lines_that_are_too_long_are_left_out_and_counted(model, lines):
    found = read_lines(lines, AutoTokenizer.from_pretrained(model), 50)
    assert (len(found.lines), found.too_long) == (12, 12)
    with pytest.raises(ListError, match="got none, 24 longer than law.tokens, 16"):
        read_lines(lines, AutoTokenizer.from_pretrained(model), 16)


def test_a_model_without_a_chat_template_learns_no_chats(model, lines):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="must have a chat template"):
        read_lines(lines, tokenizer, 256)


def test_it_learns_and_stopped_anywhere_it_ends_as_if_it_had_not(model, lines, tmp_path):
    whole, parts, said = tmp_path / "whole", tmp_path / "parts", []
    prepare(config(model), lines, whole)
    learned = train(config(model), lines, whole, say=said.append)
    assert (learned.step, learned.done, learned.lines, learned.too_long) == (4, True, 24, 0)
    assert said[-1].startswith("step 4/4  loss ")
    before, after = weights(model), weights(whole / "model")
    assert any(not torch.equal(before[name], after[name]) for name in before)

    asked = iter([False, True])
    prepare(config(model), lines, parts)
    stopped = train(
        config(model), lines, parts, say=said.append, should_stop=lambda: next(asked, True)
    )
    assert (stopped.step, stopped.done) == (2, False)
    assert not (parts / "model").exists()
    prepare(config(model), lines, parts)
    again = train(config(model), lines, parts, say=said.append)
    assert "goes on from step 2" in said
    assert (again.step, again.done) == (4, True)
    for name, tensor in weights(parts / "model").items():
        torch.testing.assert_close(tensor, after[name], rtol=0, atol=0, msg=name)


def test_a_lora_is_merged_and_lies_beside(model, lines, tmp_path):
    given = config(model, lora={"rank": 2})
    prepare(given, lines, tmp_path / "out")
    assert train(given, lines, tmp_path / "out", say=lambda line: None).done
    assert (tmp_path / "out" / "lora" / "adapter_model.safetensors").is_file()
    before, after = weights(model), weights(tmp_path / "out" / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name for name in changed), "linear layers alone"


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"steps": 5}, "another law"), ({}, "another lines")],
)
def test_a_folder_holds_one_training(model, lines, tmp_path, changed, words):
    prepare(config(model), lines, tmp_path / "out")
    other = lines
    if not changed:
        other = tmp_path / "other.jsonl"
        write_lines(other, 2)
    with pytest.raises(RunMismatch, match=words):
        prepare(config(model, **changed), other, tmp_path / "out")


def test_the_command_trains_and_says_so(model, lines, tmp_path):
    words = ["train-language", "--lines", lines, "--out", tmp_path / "out", "--preset", "miniature"]
    words += ["--model", model, "--set", "law.steps=2", "--set", "law.batch=2", "--json"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "step": 2,
        "steps": 2,
        "model": str(tmp_path / "out" / "model"),
        "lines": 24,
        "too long": 0,
        "exit_code": 0,
    }
    assert result.stderr.startswith("preset miniature: ")


def test_a_preset_is_asked_for(lines, tmp_path):
    words = ["train-language", "--lines", str(lines), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "lora (a LoRA of an open chat model" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_refused_leaves_no_folder_that_refuses_the_next_start(model, lines, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    for given, file in ((config("no/such-folder"), lines), (config(model), bad)):
        with pytest.raises(InputError):
            prepare(given, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare(config(model), lines, tmp_path / "out")


def test_a_config_that_asks_for_a_quantiser_is_refused(model, lines, tmp_path):
    asking = tmp_path / "asking"
    shutil.copytree(model, asking)
    found = json.loads((asking / "config.json").read_text())
    found["quantization_config"] = {"quant_method": "bitsandbytes"}
    (asking / "config.json").write_text(json.dumps(found))
    with pytest.raises(
        ModelError, match="must not name code or weights of its own, or a quantiser"
    ):
        prepare(config(str(asking)), lines, tmp_path / "out")
