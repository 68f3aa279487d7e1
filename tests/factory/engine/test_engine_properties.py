"""What must hold whatever the weights."""

import numpy as np
import pytest
import torch

from factory.engine.attention.prompt_to_prompt import SharedAttention, shares_attention
from factory.engine.batch import Batch
from factory.pairs.prompt_to_prompt import PromptToPrompt
from factory.pairs.source import Made, NotMade
from tests.factory.engine.family import CAPTIONS, draw, recipe, sample, save_family

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))


def test_p_zero_equals_two_independent_samples_from_one_noise(family):
    of = recipe(family)
    before, after = CAPTIONS[0]
    pair = sample(of, [draw((before, after), 5, p=0.0)], 1)[5]
    alone = [sample(of, [draw((text, text), 5, p=0.0)], 1)[5][0] for text in (before, after)]
    torch.testing.assert_close(pair, torch.stack(alone), rtol=0, atol=1e-10)
    assert (pair[0] - pair[1]).abs().max() > 1e-3


def test_equal_prompts_give_equal_images(family):
    text = CAPTIONS[0][0]
    pair = sample(recipe(family), [draw((text, text), 6, p=0.7)], 2)[6]
    torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=1e-12)


def test_source_depends_neither_on_p_nor_on_the_edit(family):
    of = recipe(family)
    before = CAPTIONS[0][0]
    sources = [
        sample(of, [draw((before, after), 7, p=p)], 1)[7][0]
        for p in (0.0, 0.9)
        for after in (CAPTIONS[0][1], CAPTIONS[1][1])
    ]
    for other in sources[1:]:
        assert torch.equal(sources[0], other)


def test_p_changes_the_edited_image(family):
    of = recipe(family)
    edited = [sample(of, [draw(CAPTIONS[0], 8, p=p)], 1)[8][1] for p in (0.0, 0.9)]
    assert (edited[0] - edited[1]).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_candidate_depends_neither_on_its_batch_mates_nor_on_its_place(family, dtype):
    of = recipe(family, dtype=dtype)
    mine = draw(CAPTIONS[0], 10, p=0.5)
    mates = [draw(CAPTIONS[i % 4], 20 + i, p=0.1 * i, guidance=2.0 + i) for i in range(5)]
    alone = sample(of, [mine], 3)[10]
    assert torch.equal(alone, sample(of, [mine, *mates], 3)[10])
    assert torch.equal(alone, sample(of, [*mates, mine], 3, apart=2)[10])
    assert torch.equal(alone, sample(of, [mine], 3, first_place=2)[10])


def test_controlled_steps_are_the_originals():
    def count(p, steps):
        return sum(shares_attention(p, step, steps) for step in range(steps))

    assert [count(p, 100) for p in (0.1, 0.3, 0.5, 0.9)] == [10, 30, 50, 90]
    assert [count(p, 25) for p in (0.1, 0.3, 0.5, 0.9)] == [3, 8, 12, 22]
    assert [count(p, 1) for p in (0.0, 0.5)] == [0, 1]
    assert count(1.0, 10) == 9


def test_route_sends_edited_rows_of_both_guidance_halves_to_their_original():
    routes = [tuple(SharedAttention(0.5).route(step, 5)) for step in range(5)]
    assert routes == [(0, 1, 0, 1)] * 2 + [(0, 1, 2, 3)] * 3


def test_attention_none_routes_nothing(family):
    shared = sample(recipe(family, attention="none"), [draw(CAPTIONS[0], 11, p=0.9)], 1)[11]
    free = sample(recipe(family), [draw(CAPTIONS[0], 11, p=0.0)], 1)[11]
    assert torch.equal(shared, free)


def test_several_callers_share_one_batch_and_each_gets_its_own(family):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=2, threads=1)
    first = engine.pairs([draw(CAPTIONS[0], seed) for seed in range(3)])
    second = engine.pairs([draw(CAPTIONS[1], seed) for seed in range(3)])
    for outcomes, caption in ((second, CAPTIONS[1]), (first, CAPTIONS[0])):
        made = list(outcomes)
        assert sorted(m.draw.seed for m in made) == [0, 1, 2]
        assert {m.draw.triplet.original_prompt for m in made} == {caption[0]}


def test_picture_that_is_not_finite_is_recorded_and_its_mates_go_on(family, monkeypatch):
    advance = Batch.advance

    def spoil(self):
        done = advance(self)
        return [(slot, x * float("nan") if slot.request.seed == 1 else x) for slot, x in done]

    monkeypatch.setattr(Batch, "advance", spoil)
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=4, threads=1)
    outcomes = {o.draw.seed: o for o in engine.pairs([draw(CAPTIONS[0], s) for s in range(3)])}
    assert isinstance(outcomes[1], NotMade)
    assert "finite" in outcomes[1].reason
    assert all(isinstance(outcomes[seed], Made) for seed in (0, 2))


def test_step_that_fails_reaches_every_caller_and_the_engine_lives_on(family, monkeypatch):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=2, threads=1)
    batch = engine.engine.resident.batch
    denoise = batch.denoise

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(batch, "denoise", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(engine.pairs([draw(CAPTIONS[0], 1)]))
    monkeypatch.setattr(batch, "denoise", denoise)
    assert isinstance(next(iter(engine.pairs([draw(CAPTIONS[0], 1)]))), Made)


def test_pictures_are_rounded_not_truncated():
    from factory.engine.decoder import to_picture, to_pixels, to_unit

    image = torch.tensor([0.0, 0.4999 / 255, 0.5001 / 255, 1.0]).view(1, 2, 2).expand(3, 2, 2)
    picture = to_picture(to_pixels(image))
    assert picture[..., 0].flatten().tolist() == [0, 0, 1, 255]
    assert to_unit(torch.tensor([-1.5, -1.0, 1.0, 3.0])).tolist() == [0, 0, 1, 1]
    assert picture.dtype == np.uint8


def test_engine_whose_device_is_gone_answers_everybody_and_takes_no_more(family, monkeypatch):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=2, threads=1)

    def gone(*_):
        raise RuntimeError("device lost")

    monkeypatch.setattr(engine.engine.resident.batch, "denoise", gone)
    monkeypatch.setattr(engine.engine.resident.batch, "clear", gone)
    with pytest.raises(RuntimeError, match="device lost"):
        list(engine.pairs([draw(CAPTIONS[0], seed) for seed in range(5)]))
    engine.engine.resident.join(10)
    with pytest.raises(RuntimeError, match="device lost"):
        list(engine.pairs([draw(CAPTIONS[0], 9)]))


def test_failure_at_admission_is_the_engines_not_the_candidates(family, monkeypatch):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=2, threads=1)
    admit = engine.engine.resident.batch.admit

    def full(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(engine.engine.resident.batch, "admit", full)
    with pytest.raises(MemoryError, match="no room"):
        list(engine.pairs([draw(CAPTIONS[0], 1)]))
    monkeypatch.setattr(engine.engine.resident.batch, "admit", admit)
    assert isinstance(next(iter(engine.pairs([draw(CAPTIONS[0], 1)]))), Made)


def test_draws_that_nobody_waits_for_are_not_made(family):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=1, threads=1)
    calls = engine.pairs([draw(CAPTIONS[0], seed) for seed in range(50)])
    next(calls)
    calls.close()
    list(engine.pairs([draw(CAPTIONS[1], 99)]))
    assert engine.engine.resident.rows_run < 4 * 5 * 10


def test_pixels_that_are_infinite_are_not_taken_for_white(family, monkeypatch):
    engine = PromptToPrompt(recipe(family, dtype="float32"), device="cpu", batch_pairs=2, threads=1)
    decode = engine.engine.resident.decoder.decode

    def overflow(x):
        images = decode(x)
        images[0, 0, 0, 0] = float("inf")
        return images

    monkeypatch.setattr(engine.engine.resident.decoder, "decode", overflow)
    (outcome,) = engine.pairs([draw(CAPTIONS[0], 1)])
    assert isinstance(outcome, NotMade)
