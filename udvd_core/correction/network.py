"""The correction network: one-dimensional along E, blind to the pixel that it corrects."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from udvd_core.correction.inputs import CHANNELS

WIDTH, BLIND_WIDTH = 32, 12
DILATIONS = (1, 2, 4, 8)
SLOPE = 0.1


class CorrectionNetwork(nn.Module):
    """What to add to the guide, in units of its noise.

    Detector rows are treated alike and do not see each other, so that nothing has to be hidden along q.

    Parameters
    ----------
    hidden : int
        Channels on either side that are hidden with the pixel itself; the weights fit any.
    """

    def __init__(self, hidden: int = 1) -> None:
        super().__init__()
        self.hidden = hidden
        self.own = nn.ModuleList(
            nn.Conv1d(1 if k == 0 else BLIND_WIDTH, BLIND_WIDTH, 5, dilation=2**k, bias=False) for k in range(3)
        )
        self.around = nn.Conv1d(CHANNELS, WIDTH, 9, padding=4)
        self.blocks = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * d, dilation=d) for d in DILATIONS)
        self.mix = nn.ModuleList(nn.Conv1d(WIDTH + extra, WIDTH, 1) for extra in (2 * BLIND_WIDTH, 0))
        self.last = nn.Conv1d(WIDTH, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, own: torch.Tensor, around: torch.Tensor) -> torch.Tensor:
        """Correction (n, E) from own residuals (n, 1, E) and `surroundings` (n, CHANNELS, E)."""
        seen = functional.leaky_relu(self.around(around), SLOPE)
        for block in self.blocks:
            seen = seen + functional.leaky_relu(block(seen), SLOPE)
        seen = torch.cat((seen, self._before(own), self._before(own.flip(-1)).flip(-1)), 1)
        for layer in self.mix:  # from here on each channel for itself, or the own pixel would come back
            seen = functional.leaky_relu(layer(seen), SLOPE)
        result: torch.Tensor = self.last(seen)[:, 0]
        return result

    def _before(self, own: torch.Tensor) -> torch.Tensor:
        """Features of the own residuals more than `hidden` channels before each pixel."""
        x = functional.pad(own, (self.hidden + 1, 0))[..., : own.shape[-1]]
        for k, layer in enumerate(self.own):
            x = functional.leaky_relu(layer(functional.pad(x, (4 * 2**k, 0))), SLOPE)
        return x


def flops_per_pixel(network: CorrectionNetwork) -> int:
    """Multiplications and additions for one pixel, forward."""
    twice = sum(p.numel() for p in network.own.parameters())
    return 2 * (sum(p.numel() for p in network.parameters() if p.dim() > 1) + twice)
