"""A simulated GPU: what the host reads of it is found, and what stays on either side is not."""

from __future__ import annotations

import pytest
import torch

from didact_kit.simulation import GPU, HostRead, SimulatedGPU

READS = {
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x.sum()),
    "branch": lambda x: 1 if x.sum() > 0 else 2,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "to cpu": lambda x: x.to("cpu"),
    "copy to cpu": lambda x: torch.zeros(3, 4).copy_(x),
    "nonzero": lambda x: x.nonzero(),
    "selection": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "assignment": lambda x: x.index_put_((x > 0,), torch.arange(12.0, device=GPU)),
    "equal": lambda x: torch.equal(x, x),
    "format": lambda x: f"{x.sum():.2f}",
    "print": lambda x: str(x),
    "synchronize": lambda x: torch.cuda.synchronize(),
}
KEEPS = {
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked fill": lambda x: x.masked_fill(x > 0, 1.0),
    "indices": lambda x: x.index_select(0, torch.tensor([0, 2], device=GPU)),
    "shape": lambda x: x.shape[0] * x.numel() + len(x),
    "copy without waiting": lambda x: x.to("cpu", non_blocking=True),
    "assignment of one value": lambda x: x.index_put_((x > 0,), torch.tensor(1.0)),
}


def on_gpu() -> torch.Tensor:
    return torch.ones(3, 4).to(GPU)


@pytest.mark.parametrize("name", READS)
def test_a_read_of_the_host_is_found(name):
    with SimulatedGPU(), pytest.raises(HostRead):
        READS[name](on_gpu())


@pytest.mark.parametrize("name", KEEPS)
def test_what_the_device_can_do_alone_is_no_read(name):
    with SimulatedGPU():
        KEEPS[name](on_gpu())


def test_tensors_on_the_cpu_have_values():
    with SimulatedGPU():
        drawn = torch.rand(5, generator=torch.Generator().manual_seed(0))
        assert drawn.tolist() == torch.rand(5, generator=torch.Generator().manual_seed(0)).tolist()
        assert (drawn < 2).nonzero().shape == (5, 1)
        assert drawn.to(GPU).device.type == "cuda"


def test_tensors_of_two_devices_do_not_meet():
    with SimulatedGPU(), pytest.raises(RuntimeError, match="same device"):
        on_gpu() + torch.ones(3, 4)


def test_a_moved_module_keeps_what_its_parts_share():
    module = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)])
    module.append(module[0])
    with SimulatedGPU() as gpu:
        gpu.moved(module)
        assert module[0].weight is module[2].weight
        assert module[1].running_mean.device.type == "cuda"
        assert module[0](torch.ones(2, 3, device=GPU)).device.type == "cuda"
