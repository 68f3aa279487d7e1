"""A LoRA in place of all weights: what is trained, stored, resumed and written."""

import io
import json
import sys

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from typer.testing import CliRunner

from editmill import app
from factory.engine.checkpoint.load import load_text_to_image
from factory.engine.solvers.schedule import NoiseSchedule
from factory.errors import ConfigError, RunMismatch
from schemas.training.fit import Adapter, Law
from tests.factory.engine.tiny import LATENT_SIDE, SCALING_FACTOR, SCHEDULER, tiny_parts
from tests.trainer.encoded import model
from tests.trainer.small import objects, png, small, state_of, train, write_pairs
from trainer.fit import prepare, prepare_network
from trainer.learning.editor import widen
from trainer.learning.lora import add_lora, trained
from trainer.learning.objective import MicroBatch, Objective
from trainer.learning.state import State
from trainer.root import leader

LORA = {"rank": 3, "alpha": 4.0, "targets": ["to_q", "to_v", "attn2.to_out", "ff"]}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def config(**law):
    return small(law={"lora": LORA} | law)


def adapted(targets=("to_q", "to_k", "to_v", "to_out.0"), seed=0, **adapter):
    """The tiny model's network as `fit` makes it."""
    parts = load_text_to_image(small(False).law.model, None, torch.float32)
    network = prepare_network(parts, CPU)
    add_lora(network, Adapter(targets=targets, **adapter), seed)
    return network


def micro_batch(items=4):
    rng = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(items, *shape, generator=rng)

    latents = [normal(4, LATENT_SIDE, LATENT_SIDE) for _ in range(5)]
    timestep = torch.tensor([50, 300, 600, 900])[:items]
    mean, condition, posterior, noise, variance = latents
    return MicroBatch(mean, variance - 9, condition, normal(7, 32), timestep, posterior, noise)


def losses(network, batch):
    return Objective(NoiseSchedule.from_config(SCHEDULER), SCALING_FACTOR).losses(network, batch)


@pytest.mark.parametrize("autocast", [False, True])
def test_at_first_it_is_its_base_bit_for_bit(autocast):
    base = tiny_parts(dtype=torch.float32).unet
    widen(base)
    # The same attention on both: torch's fused one differs in the last bits.
    base.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
    network = adapted(targets=("attn1", "ff", "conv1", "proj_in", "time_emb_proj"))
    batch = micro_batch()
    inputs = torch.cat([batch.mean, batch.condition], 1), batch.timestep, batch.context
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert torch.equal(network(*inputs).sample, base(*inputs).sample)


def test_the_first_matrices_are_arithmetic_on_the_seed_and_the_layers_name():
    def matrices(**more):
        return {n: p for n, p in trained(adapted(**more)).items() if "lora_A" in n}

    first, again, other = matrices(), matrices(targets=("to_v",)), matrices(seed=1)
    assert len(first) == 4 * len(again) == len(other)
    for name, matrix in again.items():
        assert torch.equal(matrix, first[name])
        assert not torch.equal(matrix, other[name])
        limit = matrix.shape[1] ** -0.5
        assert 0.9 * limit < matrix.abs().max() <= limit
    # No two layers share theirs.
    assert len({tuple(matrix.flatten()[:4].tolist()) for matrix in first.values()}) == len(first)


def test_gradients_are_where_training_is_and_nowhere_else():
    network = adapted()
    state = State(network, small(False).law)
    layers = {name.rpartition(".lora_")[0] for name in state.parameters if "lora_" in name}
    # Two attentions of four layers in each of seven blocks.
    assert len(layers) == 7 * 2 * 4
    assert {name.rpartition("attn")[2][2:] for name in layers} == {
        "to_q", "to_k", "to_v", "to_out.0",
    }  # fmt: skip
    expected = {f"{layer}.lora_{letter}.weight" for layer in layers for letter in "AB"}
    assert set(state.parameters) == expected | {"conv_in.weight", "conv_in.bias"}
    batch = micro_batch()
    for _ in range(2):
        losses(network, batch).mean().backward()
        with_gradient = {id(p) for p in network.parameters() if p.grad is not None}
        assert with_gradient == {id(p) for p in state.parameters.values()}
        norms = {name: p.grad.norm() for name, p in state.parameters.items()}
        before = {name: p.clone() for name, p in network.named_parameters() if not p.requires_grad}
        state.advance()
    assert all(norms.values())
    assert all(torch.equal(network.get_parameter(name), p) for name, p in before.items())


def test_the_picture_is_seen_after_one_step():
    network, batch = adapted(), micro_batch()
    state = State(network, small(False).law)

    def says(picture):
        return network(torch.cat([batch.mean, picture], 1), batch.timestep, batch.context).sample

    assert torch.equal(says(batch.condition), says(-batch.condition))
    losses(network, batch).mean().backward()
    state.advance()
    assert not torch.equal(says(batch.condition), says(-batch.condition))


@pytest.mark.long
def test_the_loss_goes_down_and_by_more_than_the_input_layer_can_bring():
    def after_20_steps(alone):
        network, batch = adapted(rank=8), micro_batch()
        state = State(network, small(False, law={"learning_rate": 1e-2}).law)
        if alone:
            state.optimiser.param_groups[0]["params"] = list(network.conv_in.parameters())
        for _ in range(20):
            losses(network, batch).mean().backward()
            state.advance()
        with torch.no_grad():
            return losses(network, batch).mean()

    with torch.no_grad():
        start = losses(adapted(), micro_batch()).mean()
    together, alone = after_20_steps(False), after_20_steps(True)
    assert alone < start
    assert together < 0.95 * alone


def test_a_group_of_workers_finds_a_gradient_for_each_trained_parameter(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        network, batch = adapted(), micro_batch(2)
        spread = DistributedDataParallel(network)
        # The second forward raises where the first had a parameter without a gradient.
        for _ in range(2):
            losses(spread, batch).mean().backward()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_stopped_after_each_step_and_resumed_it_is_bit_for_bit_the_same(dtype, dataset, tmp_path):
    law = config(dtype=dtype, steps=3)
    train(law, dataset, tmp_path / "whole")
    for done in range(1, 4):
        asked = iter([False, True, True])
        found = train(law, dataset, tmp_path / "parts", should_stop=lambda: next(asked))  # noqa: B023
        assert (found.step, found.done) == (done, done == 3)
    expected, got = state_of(tmp_path / "whole", 3), state_of(tmp_path / "parts", 3)
    assert expected.keys() == got.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    for written in ("editor/", "lora/"):
        assert objects(tmp_path / "parts", written) == objects(tmp_path / "whole", written) != {}


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """Enough of a training that its pictures are other ones; the average lags behind."""
    out, seen = tmp_path_factory.mktemp("out"), []

    def watched(editor, *more):
        seen.append({name: p.detach().clone() for name, p in trained(editor.networks.unet).items()})
        return real(editor, *more)

    real, leader.edit_sheet = leader.edit_sheet, watched
    try:
        law = {"lora": LORA, "learning_rate": 0.03, "warm_up": 0, "ema_decay": 0.5}
        watching = {"sheet_every": 3, "sampler": {"steps": 2}}
        assert train(small(law=law, watching=watching), dataset, out).done
    finally:
        leader.edit_sheet = real
    return out, seen


def test_a_checkpoint_holds_what_is_trained_under_plain_names_and_is_small(finished):
    found = state_of(finished[0])
    kinds = {name.partition(".")[0] for name in found}
    assert kinds == {"weight", "average", "mean", "square"}
    names = {name.partition(".")[2] for name in found}
    assert len(found) == 4 * len(names)
    assert {n for n in names if "lora_" not in n} == {"conv_in.weight", "conv_in.bias"}
    assert not [n for n in names if "base_layer" in n or "default" in n]
    whole = sum(p.numel() * 4 for p in tiny_parts().unet.parameters())
    stored = sum(map(len, objects(finished[0], "state/").values()))
    # Two checkpoints of four numbers each are kept, and still are less than the weights alone.
    assert stored < whole


def test_the_sheets_are_drawn_with_the_average(finished):
    out, seen = finished
    assert len(seen) == 2
    stored = state_of(out)
    assert all(torch.equal(stored[f"average.{name}"], value) for name, value in seen[1].items())
    assert any(not torch.equal(stored[f"weight.{n}"], value) for n, value in seen[1].items())
    assert sorted(objects(out, "sheets/")) == ["sheets/000000003.png", "sheets/000000005.png"]


def test_what_is_written_holds_the_average(finished):
    out, _ = finished
    stored = state_of(out)
    adapter = load_file(out / "lora" / "pytorch_lora_weights.safetensors")
    assert {f"average.{key.removeprefix('unet.')}" for key in adapter} == {
        name for name in stored if name.startswith("average.") and "lora_" in name
    }
    for key, matrix in adapter.items():
        average = stored[f"average.{key.removeprefix('unet.')}"]
        torch.testing.assert_close(matrix, average * (4 / 3 if "lora_B" in key else 1))
    editor = load_file(out / "editor" / "unet" / "diffusion_pytorch_model.safetensors")
    for name, tensor in load_file(out / "lora" / "conv_in.safetensors").items():
        assert torch.equal(tensor, stored[f"average.conv_in.{name}"])
        assert torch.equal(tensor, editor[f"conv_in.{name}"])
        assert not torch.equal(tensor, stored[f"weight.conv_in.{name}"])


def picture_of(folder, prepare=lambda pipeline: None):
    kind = diffusers.StableDiffusionInstructPix2PixPipeline
    pipeline = kind.from_pretrained(str(folder), local_files_only=True)
    prepare(pipeline)
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "make it red", image=Image.open(io.BytesIO(png(1))), num_inference_steps=3,
        output_type="np", generator=torch.Generator().manual_seed(0),
    ).images[0]  # fmt: skip


def test_the_merged_editor_and_the_adapter_on_its_base_draw_the_same_picture(finished):
    out, _ = finished
    folder = out / "lora"
    assert {file.name for file in folder.iterdir()} == {
        "pytorch_lora_weights.safetensors", "conv_in.safetensors",
    }  # fmt: skip

    def open_input(pipeline):
        pipeline.unet.conv_in = torch.nn.Conv2d(8, pipeline.unet.conv_in.out_channels, 3, padding=1)
        pipeline.unet.register_to_config(in_channels=8)
        pipeline.unet.conv_in.load_state_dict(load_file(folder / "conv_in.safetensors"))

    def load(pipeline):
        open_input(pipeline)
        pipeline.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")

    merged = picture_of(out / "editor")
    np.testing.assert_allclose(picture_of(model(), load), merged, atol=1e-4)
    assert np.abs(picture_of(model(), open_input) - merged).max() > 0.01


def test_the_editor_differs_from_its_base_in_the_targets_and_the_input_alone(finished):
    out, _ = finished
    written = load_file(out / "editor" / "unet" / "diffusion_pytorch_model.safetensors")
    base = tiny_parts(dtype=torch.float32).unet.state_dict()
    assert written.keys() == base.keys()
    changed = {
        name for name in base.keys() - {"conv_in.weight"} if not base[name].equal(written[name])
    }
    targets = (".to_q.", ".to_v.", ".attn2.to_out.", ".ff.")
    expected = {
        n
        for n in base
        if n.endswith(".weight") and base[n].ndim == 2 and any(t in n for t in targets)
    }
    assert changed == expected | {"conv_in.bias"}
    config = json.loads((out / "editor" / "unet" / "config.json").read_bytes())
    assert config["in_channels"] == 8


def test_a_training_goes_on_from_the_merged_editor(finished, dataset, tmp_path):
    source = {"source": str(finished[0] / "editor")}
    train(config(model=source, steps=1), dataset, tmp_path / "out")
    state = state_of(tmp_path / "out", 1)
    start = load_file(finished[0] / "editor/unet/diffusion_pytorch_model.safetensors")
    moved = (state["weight.conv_in.weight"] - start["conv_in.weight"]).abs()
    assert 0 < moved.max() < 0.01 < start["conv_in.weight"][:, 4:].abs().max()


def test_a_law_without_a_lora_has_the_hash_that_it_had_before_there_was_one():
    law = Law.model_validate({"model": {"source": "miniature"}})
    assert law.law_hash == "c68d9ca21cbfa19ce71e63aa70ec9a932ff4eeee43941a16d5fbafa43f86e717"
    with_one = [law.model_copy(update={"lora": Adapter(rank=rank)}).law_hash for rank in (4, 8)]
    assert len({law.law_hash, *with_one}) == 3


KNOWN = "conv, conv1, conv2, conv_out, conv_shortcut, linear_1, linear_2, net.2, proj, proj_in, proj_out"


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ("{rank: 0}", "law.lora.rank: Input should be greater than or equal to 1, got 0"),
        ("{alpha: 0}", "law.lora.alpha: Input should be greater than 0, got 0"),
        ("{targets: []}", "law.lora.targets: Tuple should have at least 1 item"),
        ("{dropout: 0.1}", "unknown key 'law.lora.dropout'"),
        *[
            (
                f"{{targets: [to_q, {target!r}]}}",
                f"law.lora.targets: must name layers of the UNet, got {target!r}; there are {KNOWN}",
            )
            for target in ("to_x", "o_q", "conv_in", "")
        ],
    ],
)
def test_a_wrong_lora_ends_with_2_before_ray_and_writes_nothing(
    dataset, tmp_path, monkeypatch, lora, said
):
    monkeypatch.setitem(sys.modules, "trainer.on_ray.fit", None)
    settings = [f"law.model={{source: {model()}}}", "law.size_px=16", f"law.lora={lora}"]
    settings.append("watching.oracle_edits=0")
    arguments = ["fit", "--preset", "miniature", "--dataset", dataset]
    arguments += ["--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments + [x for s in settings for x in ("--set", s)])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_another_lora_is_another_training(dataset, tmp_path):
    prepare(config(), dataset, str(tmp_path))
    with pytest.raises(RunMismatch, match=r"differing: lora\.rank: 3 -> 2"):
        prepare(config(lora=LORA | {"rank": 2}), dataset, str(tmp_path))


def test_targets_that_only_loading_can_tell_are_refused_then():
    with pytest.raises(ConfigError, match="got 'to_x'"):
        adapted(targets=("to_x",))
