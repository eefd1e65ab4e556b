"""What a preset costs: memory that fits the GPU that it is for, arithmetic, hours."""

import re
import weakref

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cspine.networks.classifier import SliceNet
from cspine.settings.networks import ClassifierSettings
from cspine.settings.presets import MACHINES, PRESETS
from cspine.training import cost
from cspine.training.cost import cost_of, describe_cost, saved_bytes, step_gib

SHARE = 0.85
"""Of the GPU's memory: the rest is for cuDNN's workspace and for what the allocator loses."""
FOR_A_GPU = list(MACHINES)


def test_kept_bytes_are_counted_as_they_are():
    """One product of float32 matrices keeps both of its factors, whatever is viewed of them."""
    a, b = torch.ones(10, 20, requires_grad=True), torch.ones(20, 30, requires_grad=True)
    assert saved_bytes(lambda: (a @ b).sum()) == 4 * (10 * 20 + 20 * 30)
    assert saved_bytes(lambda: (a[:5] @ b).sum() + (a[5:] @ b).sum()) == 4 * (10 * 20 + 20 * 30)


def test_what_was_counted_is_let_go():
    """A graph whose nodes hold their own outputs is never freed: gigabytes for each preset."""
    made = []

    def compute():
        made.append(torch.ones(10, requires_grad=True).exp())
        return made[0].sum()

    saved_bytes(compute)
    gone = weakref.ref(made[0])
    made.clear()
    assert gone() is None


@pytest.mark.parametrize("network", ["encoder", "classifier"])
@pytest.mark.parametrize("name", FOR_A_GPU)
def test_a_step_fits_the_gpu_that_the_preset_is_for(name, network):
    preset = PRESETS[name]
    training = preset.encoder_training if network == "encoder" else preset.classifier_training
    samples, _ = training.steps_of(1)
    needed = step_gib(preset, samples, preset.stacks.slices * (1 if network == "encoder" else 7))
    gib = MACHINES[name].gib
    assert 0.3 * gib <= needed <= SHARE * gib, f"{needed:.1f} of {gib} GiB"


def test_a_larger_picture_keeps_what_its_area_says():
    """Counted on pictures of 96 and of 64 px: scaled by their area they agree."""
    model = SliceNet(ClassifierSettings(pretrained=False), 6).train()

    def kept(px, images):
        shown = torch.zeros(1, images, px, px, 5, dtype=torch.uint8)
        with torch.autocast("cpu", torch.bfloat16):
            return saved_bytes(lambda: model(shown, shown[..., 0]).sum())

    large, small = (kept(px, 3) - kept(px, 2) for px in (96, cost.SMALL_PX))
    assert large == pytest.approx(small * (96 / cost.SMALL_PX) ** 2, rel=0.02)


def test_arithmetic_is_that_of_whole_studies():
    preset = PRESETS["demo"]
    shown = torch.zeros(7, preset.stacks.slices, 64, 64, 3, dtype=torch.uint8)
    model = SliceNet(preset.classifier, preset.stacks.channels).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(shown, shown[..., 0])
    found = cost_of(preset)
    locators = (
        cost.FOLDS
        * cost.LOCATOR_WINDOWS
        * cost._flop(cost.Locator(preset.locator), torch.zeros(1, 1, *preset.locator.window_vox))
    )
    assert found.study_tflop * 1e12 == pytest.approx(5 * counter.get_total_flops() + locators, rel=0.01)


@pytest.mark.parametrize("name", FOR_A_GPU)
def test_a_preset_for_a_gpu_says_what_it_takes_there(name):
    said = describe_cost(name, PRESETS[name])
    assert MACHINES[name].name in said
    seconds = float(re.search(r"([\d.]+) s a study;", said)[1])
    limit = float(re.search(r"has ([\d.]+) s a study", said)[1])
    assert limit == pytest.approx(29.6, abs=0.05)
    assert name == "gpu-80gb" or seconds < limit / 2
    assert "not measured" in said and "16 vertebrae" in said and "16 studies" in said


@pytest.mark.parametrize("name", [name for name, machine in MACHINES.items() if machine.others])
def test_a_blend_fits_the_gpu_and_the_hours_that_there_are(name):
    machine, preset = MACHINES[name], PRESETS[name]
    said = describe_cost(name, preset)
    hours, there = map(float, re.search(r"encoders: ([\d.]+) h of training of ([\d.]+) h", said).groups())
    each = re.findall(r"^  ([\w.]+): .* ([\d.]+) GiB, ([\d.]+) h$", said, re.MULTILINE)
    assert [one[0] for one in each] == [preset.classifier.encoder, *machine.others]
    assert (
        sum(float(one[2]) for one in each) == pytest.approx(hours, abs=1.0)
        and hours <= there == machine.hours
    )
    assert all(float(one[1]) <= SHARE * machine.gib for one in each)


def test_on_a_cpu_no_hours_are_promised():
    assert " h of training" not in describe_cost("demo", PRESETS["demo"])
