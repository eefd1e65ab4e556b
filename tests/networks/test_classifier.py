import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cspine.competition.labels import PUBLISHED
from cspine.competition.metric import best_constants, global_loss_of_constants
from cspine.errors import InputError
from cspine.networks import precision
from cspine.networks.classifier import (
    Classifier,
    SliceNet,
    encoder_input,
    make_encoder,
    study_and_slice_logits,
    where_in_slices,
)
from cspine.settings.networks import ClassifierSettings
from cspine.training.losses import competition_loss, slice_loss

SMALL = ClassifierSettings(encoder="test_resnet", pretrained=False, hidden=16, context_layers=1, dropout=0.1)
SRC = Path(__file__).parents[2] / "src"


def make(settings=SMALL, channels=4, seed=0):
    torch.manual_seed(seed)
    return Classifier(settings, channels)


def inputs(batch, slices=5, px=32, neighbours=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(
        0, 256, (batch, 7, slices, px, px, neighbours), dtype=torch.uint8, generator=random
    )
    return images, torch.randint(0, 256, (batch, 7, slices, px, px), dtype=torch.uint8, generator=random)


@pytest.mark.parametrize(
    "settings", [SMALL, replace(SMALL, context_layers=0), replace(SMALL, context_layers=2)]
)
@pytest.mark.parametrize("slices", [1, 5])
def test_shapes(settings, slices):
    study, per_slice = make(settings)(*inputs(2, slices))
    assert study.shape == (2, 8) and per_slice.shape == (2, 7, slices)


def test_a_study_does_not_depend_on_its_batch():
    model = make().eval()
    torch.nn.init.normal_(model.context_head.weight)  # zero at the start, which would hide the context
    images, masks = inputs(2)
    with torch.inference_mode():
        both = model(images, masks)
        alone = [model(images[n : n + 1], masks[n : n + 1]) for n in range(2)]
    for kind in range(2):
        assert torch.allclose(both[kind], torch.cat([one[kind] for one in alone]), atol=1e-4)
    assert (both[0][0] - both[0][1]).abs().max() > 1e-3  # two studies, two answers


def test_a_level_sees_the_others_through_the_context_alone():
    images, masks = inputs(1)
    changed = images.clone()
    changed[:, 6] = 255 - changed[:, 6]
    for layers, reaches in ((0, False), (1, True)):
        model = make(replace(SMALL, context_layers=layers)).eval()
        torch.nn.init.normal_(model.context_head.weight)
        with torch.inference_mode():
            moved = (model(images, masks)[0] - model(changed, masks)[0]).abs()[0]
        assert moved[6] > 1e-4 and moved[7] > 1e-4
        assert (moved[:6].max() > 1e-4) == reaches


def test_the_mask_is_looked_at():
    model = make().eval()
    images, masks = inputs(1)
    with torch.inference_mode():
        assert (model(images, masks)[0] - model(images, 255 - masks)[0]).abs().max() > 1e-4


def test_every_parameter_learns():
    """All get a gradient, and after one step (the context's head starts at zero) none of them is zero."""
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    truth = (torch.rand(2, 8, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    targets = truth[:, :7, None].expand(2, 7, 5)
    for _ in range(2):
        optimizer.zero_grad()
        study, per_slice = model(*inputs(2))
        (competition_loss(study, truth) + slice_loss(per_slice, targets)).backward()
        missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not missing
        optimizer.step()
    silent = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().max() > 0]
    assert not silent


def test_slices_of_unknown_state_leave_all_parameters_with_a_gradient():
    """Many processes wait for each other's gradients: none may be absent because nobody drew boxes."""
    model = make()
    study, per_slice = model(*inputs(1))
    unknown = slice_loss(per_slice, torch.full((1, 7, 5), torch.nan))
    (competition_loss(study, torch.zeros(1, 8)) + unknown).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_an_untrained_network_answers_about_the_rates():
    """Starting far off (sigmoid(ln 15) = 0.94 for every level) would cost the first epochs."""
    model = make(replace(SMALL, hidden=64)).eval()
    with torch.inference_mode():
        values = model(*inputs(2, slices=15))[0].sigmoid().double().mean(dim=0).numpy()
    rates = PUBLISHED["train"]
    best = global_loss_of_constants(rates, best_constants(rates.rates()))
    assert global_loss_of_constants(rates, values) < best + 0.03


def test_logits_of_studies_and_slices_are_the_networks_own(monkeypatch):
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.float32)
    model, (images, masks), cpu = make().eval(), inputs(2), torch.device("cpu")
    with torch.inference_mode():
        expected = model(images, masks)
    found = study_and_slice_logits(model, images, masks, cpu)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    monkeypatch.setattr(precision, "fast_precision", lambda device: torch.bfloat16)
    for one, other in zip(study_and_slice_logits(model, images, masks, cpu), expected, strict=True):
        assert one.dtype == torch.float32 and torch.allclose(one, other, atol=0.1)


@pytest.mark.parametrize("network", [Classifier, SliceNet])
def test_heads_compute_in_float32_even_where_the_encoder_does_not(network):
    """Half precision ends at 65504, and a sum of a hundred logits in bfloat16 has two digits."""
    model = network(SMALL, 4)
    images, masks = inputs(1)
    seen = {}
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Linear | torch.nn.GRU | torch.nn.Conv2d):
            part.register_forward_hook(
                lambda _, given, found, name=name: seen.update(
                    {name: (found[0] if isinstance(found, tuple) else found).dtype}
                )
            )
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images, masks) if network is Classifier else model(images[0], masks[0])
    heads = {name: dtype for name, dtype in seen.items() if not name.startswith("encoder.")}
    assert heads and set(heads.values()) == {torch.float32}
    assert torch.bfloat16 in {dtype for name, dtype in seen.items() if name.startswith("encoder.")}
    assert all(part.dtype == torch.float32 for part in (found if isinstance(found, tuple) else (found,)))


@pytest.mark.parametrize("name", ["no_such_encoder", "test_resnet.no_such_tag"])
def test_an_unknown_encoder_is_named(name):
    with pytest.raises(InputError, match=f"encoder '{name}': timm"):
        make_encoder(replace(SMALL, encoder=name, pretrained="." in name), 4)


def test_settings_out_of_range():
    with pytest.raises(ValidationError, match="hidden"):
        ClassifierSettings(hidden=9)
    with pytest.raises(ValidationError, match="encodr"):
        ClassifierSettings(encodr="test_resnet")


CODE = """
import time
import timm, torch
from cspine.errors import InputError
from cspine.networks.classifier import make_encoder
from cspine.settings.networks import ClassifierSettings

start = time.perf_counter()
try:
    make_encoder(ClassifierSettings(encoder="test_resnet.r160_in1k", pretrained=True), 4)
except InputError as error:
    print(f"{time.perf_counter() - start:.1f}|{error}")
"""


def test_pretrained_weights_out_of_reach(tmp_path):
    """A machine without a network: the message names both ways out, and comes at once."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, _, message = done.stdout.partition("|")
    assert float(seconds) < 10
    assert "encoder 'test_resnet.r160_in1k'" in message
    assert "--encoder-weights FILE" in message and "--no-pretrained" in message


def test_pretrained_weights_from_a_file(tmp_path):
    """The way out that the message names works: three-channel weights, adapted to ours."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(3)
    source = timm.create_model("test_resnet")
    path = tmp_path / "model.safetensors"
    save_file(source.state_dict(), path)
    settings = ClassifierSettings(encoder="test_resnet.r160_in1k", pretrained=True)
    encoder = make_encoder(settings, 4, str(path))
    names = [
        name for name, value in source.state_dict().items() if name.endswith("weight") and value.ndim == 4
    ]
    mine = encoder.state_dict()
    assert torch.equal(mine[names[-1]], source.state_dict()[names[-1]])
    assert mine[names[0]].shape[1] == 4
    with pytest.raises(InputError, match="--encoder-weights"):
        make_encoder(settings, 4, str(tmp_path / "absent.safetensors"))
    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="test_resnet.*other.safetensors"):
        make_encoder(settings, 4, str(tmp_path / "other.safetensors"))


def test_input_scale_is_the_same_for_every_image():
    """Fixed grey values: brightening one slice must not change how another one is seen."""
    model = make().eval()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images, masks = inputs(1)
    brighter = images.clone()
    brighter[:, 0, 0] = 255
    with torch.inference_mode():
        model(images, masks)
        model(brighter, masks)
    assert torch.equal(seen[0][1:], seen[1][1:])
    assert float(seen[1].max()) == 1 and float(seen[0].min()) == -1
    assert np.isclose(float(seen[0][0, 0, 0, 0]), float(images[0, 0, 0, 0, 0, 0]) / 127.5 - 1)


def test_the_parts_of_a_slices_logit_add_up_to_it():
    """test_resnet takes the mean of its last map, so every position has its part of the logit."""
    classifier = make().eval()
    images, masks = (part[0, 0] for part in inputs(1, px=160))
    maps = where_in_slices(classifier, images, masks)
    with torch.no_grad():
        logits = classifier.slice_alone(classifier.encoder(encoder_input(images, masks)))[:, 0]
    assert maps.ndim == 3 and maps.shape[1] == maps.shape[2] > 1
    torch.testing.assert_close(
        maps.sum(dim=(1, 2)) + classifier.slice_alone.bias, logits, atol=1e-4, rtol=1e-4
    )
    assert all(part.grad is None for part in classifier.parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext"])
def test_other_encoders_tell_where_or_say_that_they_do_not(name):
    classifier = make(replace(SMALL, encoder=name)).eval()
    images, masks = (part[0, 0] for part in inputs(1, px=160))
    maps = where_in_slices(classifier, images, masks)
    assert (maps is None) == (name == "test_vit")
    assert maps is None or (maps.shape[0] == 5 and maps.isfinite().all() and maps.std() > 0)
