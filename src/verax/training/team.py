"""One process, or several that train one network together through Lightning Fabric."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from verax.errors import missing_extra


@dataclass(frozen=True, slots=True)
class Team:
    """Who computes: `rank` of `size` processes, each on its `device`."""

    rank: int
    size: int
    device: torch.device
    fabric: Any = None  # lightning_fabric.Fabric, or None for a process of its own

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The network whose gradients the team shares."""
        return net if self.fabric is None else self.fabric.setup_module(net)

    def backward(self, loss: Tensor) -> None:
        if self.fabric is None:
            loss.backward()
        else:
            self.fabric.backward(loss)

    def agreed(self, value: Tensor) -> Tensor:
        """The mean of a value over the team: all must take the same decisions."""
        return value if self.fabric is None else self.fabric.all_reduce(value)


def team(devices: int) -> Team:
    """A team of `devices` GPUs, or CPU processes where there is no GPU; 0 takes every GPU."""
    cuda = torch.cuda.is_available()
    count = devices or (torch.cuda.device_count() if cuda else 1)
    if count == 1:
        return Team(0, 1, torch.device("cuda" if cuda else "cpu"))
    if find_spec("lightning_fabric") is None:
        raise missing_extra("training on several devices", "multi-gpu")
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=count, strategy="ddp")
    fabric.launch()
    return Team(fabric.global_rank, fabric.world_size, fabric.device, fabric)
