"""The number format of a device, and what networks compute in it."""

import pytest
import torch

from cspine.networks import precision
from cspine.networks.precision import autocast, best_device, fast_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Linear(8, 4)


@pytest.fixture
def values():
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def force(monkeypatch, dtype):
    """Let every device compute fastest in one format."""
    monkeypatch.setattr(precision, "fast_precision", lambda device: dtype)


@pytest.mark.filterwarnings("error")
def test_in_float32_nothing_is_cast(monkeypatch, layer, values):
    """And quietly so: torch warns of an autocast to float32 that is switched on."""
    force(monkeypatch, torch.float32)
    with autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")
        inside = layer(values)
    assert inside.dtype == torch.float32 and torch.equal(inside, layer(values))


def test_in_bfloat16_a_linear_layer_answers_in_bfloat16(monkeypatch, layer, values):
    force(monkeypatch, torch.bfloat16)
    with autocast(CPU):
        inside = layer(values)
    outside = layer(values)
    assert inside.dtype == torch.bfloat16 and outside.dtype == torch.float32
    assert layer.weight.dtype == torch.float32, "the weights themselves are not cast"
    assert torch.allclose(inside.float(), outside, atol=0.05)


def test_an_autocast_around_it_is_switched_off_in_float32(monkeypatch, layer, values):
    force(monkeypatch, torch.float32)
    with torch.autocast("cpu", torch.bfloat16), autocast(CPU):
        assert layer(values).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_three_dimensional_convolutions_stay_in_float32_on_a_cpu(monkeypatch):
    force(monkeypatch, torch.bfloat16)
    volumes, layer = torch.zeros(1, 1, 4, 4, 4), torch.nn.Conv3d(1, 2, 3)
    with autocast(CPU, volumes=True):
        assert layer(volumes).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16), autocast(CPU, volumes=True):
        assert layer(volumes).dtype == torch.float32
    assert autocast(GPU, volumes=True).fast_dtype == torch.bfloat16


def test_this_cpu_computes_in_what_torch_says_it_can():
    supported = torch.cpu._is_avx512_bf16_supported()
    assert fast_precision(CPU) == (torch.bfloat16 if supported else torch.float32)
    with autocast(CPU):
        assert torch.is_autocast_enabled("cpu") == supported


@pytest.mark.parametrize(("supported", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_in_bfloat16_only_with_hardware_for_it(monkeypatch, supported, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    assert fast_precision(CPU) == wanted


@pytest.mark.parametrize(
    ("capability", "wanted"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((8, 6), torch.bfloat16), ((10, 0), torch.bfloat16)],
)
def test_a_t4_computes_in_float16_and_newer_gpus_in_bfloat16(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(GPU) == wanted


def test_the_first_gpu_is_taken_where_there_is_one(monkeypatch):
    for available, wanted in ((True, GPU), (False, CPU)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert best_device() == wanted
