"""`train-language` on a real Ray: two workers learn what one learns, and leave one model."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from schemas.recipe import ModelSource
from schemas.training.language import LanguageLaw, LanguageWatching, LanguageWhere, TrainLanguage
from trainer.language.train import prepare, train
from trainer.miniature.language import save_untrained, write_lines
from trainer.on_ray.language import train_on_ray

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.long]


def config(model, workers):
    return TrainLanguage(
        law=LanguageLaw(
            model=ModelSource(source=model),
            steps=3,
            batch=4,
            tokens=256,
            learning_rate=1e-3,
            warm_up=1,
        ),
        compute=LanguageWhere(
            where="ray" if workers > 1 else "here",
            device="cpu",
            gpus_per_worker=0,
            min_workers=workers,
            max_workers=workers,
            micro_batch=4,
        ),
        watching=LanguageWatching(report_every=1, checkpoint_every=1),
    )


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_two_workers_learn_what_one_learns_and_leave_one_model(tmp_path):
    lines, model = tmp_path / "lines.jsonl", tmp_path / "base"
    save_untrained(model)
    # One batch, so that each step sees the same lines however they are dealt.
    write_lines(lines, 4)
    learned = {}
    for workers in (1, 2):
        given, out = config(str(model), workers), tmp_path / str(workers)
        prepare(given, lines, out)
        if workers > 1:
            found = train_on_ray(given, lines, out)
        else:
            found = train(given, lines, out, say=lambda line: None)
        assert (found.step, found.done, found.lines) == (3, True, 4)
        learned[workers] = weights(out / "model")
    before = weights(model)
    for name, tensor in learned[1].items():
        torch.testing.assert_close(learned[2][name], tensor, rtol=0, atol=1e-4, msg=name)
    assert any((learned[2][name] - before[name]).abs().max() > 5e-4 for name in before)
