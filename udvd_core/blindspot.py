"""The blindspot network UDVD: it estimates a pixel from all around it but the pixel itself.

One implementation serves whole frames and spectra, any hidden radius, neighbour pattern and
width. Source of the architecture: Wang et al., arXiv:2505.14032, figure 1 and supplement S1;
Sheth et al., ICCV 2021; Laine et al., NeurIPS 2019 for the four rotated causal branches.

Why a branch is blind: in each rotation every convolution sees only its own row and rows above,
so features moved down by ``1 + hidden`` rows know nothing of the hidden rows. Where frames are
not square nothing is padded to a square, which would mirror the hidden pixel back into view.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from udvd_core.device import mixed_precision
from udvd_core.framing import GRID, LINE, Pattern

SLOPE = 0.1  # of LeakyReLU


def shift_down(x: torch.Tensor, rows: int) -> torch.Tensor:
    """Move an image ``(..., rows, columns)`` down, zeros entering at the top; negative moves up."""
    height = x.shape[-2]
    if abs(rows) >= height:
        return torch.zeros_like(x)
    if rows >= 0:
        return functional.pad(x[..., : height - rows, :], (0, 0, rows, 0))
    return functional.pad(x[..., -rows:, :], (0, 0, 0, -rows))


class CausalConv(nn.Conv2d):
    """3 x 3 convolution without bias whose output row r sees input rows r - 2 to r."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve ``(batch, channels, rows, columns)``, same size out."""
        if input.shape[-1] == 1:  # three replicated columns: sum the kernel instead, a third of the work
            x = functional.pad(input[..., 0], (2, 0))
            x = functional.conv1d(x, self.weight.sum(-1))[..., None]
        else:
            x = functional.pad(input, (1, 1, 0, 0), mode="replicate")
            x = functional.conv2d(functional.pad(x, (0, 0, 2, 0)), self.weight)
        return functional.leaky_relu_(x, SLOPE)


def _pool(x: torch.Tensor) -> torch.Tensor:
    """Halve rows and columns by their maximum, one row late so that it stays causal."""
    x = shift_down(x, 1)
    if x.shape[-1] == 1:
        return functional.max_pool1d(x[..., 0], min(2, x.shape[-2]))[..., None]
    return functional.max_pool2d(x, (min(2, x.shape[-2]), 2))


def _unpool(x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """Double rows and columns, zeros where the size was odd, and append `skip`."""
    rows, columns = skip.shape[-2:]
    x = x.repeat_interleave(2 if rows > 1 else 1, -2).repeat_interleave(2 if columns > 1 else 1, -1)
    x = functional.pad(x, (0, columns - x.shape[-1], 0, rows - x.shape[-2]))
    return torch.cat((x, skip), 1)


class CausalUNet(nn.Module):
    """U-Net of causal convolutions: three levels down, two up, 17 convolutions."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        w = width
        self.encoder1 = nn.Sequential(CausalConv(inputs, w), CausalConv(w, w), CausalConv(w, w))
        self.encoder2 = nn.Sequential(CausalConv(w, w), CausalConv(w, w), CausalConv(w, w))
        self.encoder3 = nn.Sequential(CausalConv(w, 2 * w), CausalConv(2 * w, 2 * w), CausalConv(2 * w, w))
        self.decoder2 = nn.Sequential(*(CausalConv(2 * w, 2 * w) for _ in range(4)))
        self.decoder1 = nn.Sequential(
            CausalConv(2 * w + inputs, 2 * w),
            CausalConv(2 * w, 2 * w),
            CausalConv(2 * w, 2 * w),
            CausalConv(2 * w, outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features ``(batch, outputs, rows, columns)`` of ``(batch, inputs, rows, columns)``."""
        half = _pool(self.encoder1(x))
        quarter = _pool(self.encoder2(half))
        y = self.decoder2(_unpool(self.encoder3(quarter), half))
        features: torch.Tensor = self.decoder1(_unpool(y, x))
        return features


class BlindspotNetwork(nn.Module):
    """Estimate the centre frame from itself without the hidden set, and from its neighbours.

    Parameters
    ----------
    pattern : Pattern
        Neighbours and their groups.
    hidden : (int, int)
        Hidden radius along q and E: the rectangle of that radius around a pixel is never seen.
    width : int
        Channels of the first level; 48 is the paper's.
    whole_neighbours : bool
        Whether the hidden set is hidden in the centre frame only. The paper hides it in all.
    """

    def __init__(
        self, pattern: Pattern = GRID, hidden: tuple[int, int] = (1, 1), width: int = 48, whole_neighbours: bool = False
    ) -> None:
        super().__init__()
        self.pattern, self.hidden, self.width, self.whole_neighbours = pattern, hidden, width, whole_neighbours
        groups, each = len(pattern.groups), max(1, 2 * width // len(pattern.groups))
        self.first = CausalUNet(len(pattern.groups[0]), each, width)
        self.second = CausalUNet(groups * each, 2 * width, width)
        joined = 4 * 2 * width
        self.mix = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) for a, b in ((joined, joined), (joined, 2 * width), (2 * width, 1))
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Denoised centre frames, never negative, shape (batch, q, E); see `estimate`."""
        return functional.relu(self.estimate(frames))

    def estimate(self, frames: torch.Tensor) -> torch.Tensor:
        """Denoise before the final clamp.

        Parameters
        ----------
        frames : tensor, shape (batch, neighbours, q, E)
            The frames of `pattern` in its order.

        Returns
        -------
        tensor, shape (batch, q, E)
        """
        with mixed_precision(frames.device):
            along_q, along_energy = self._branches(frames, 0), self._branches(frames, 1)
            features = torch.cat((along_q[0], along_energy[0], along_q[1], along_energy[1]), 1)
            x = functional.leaky_relu(self.mix[0](features), SLOPE)
            x = functional.leaky_relu(self.mix[1](x), SLOPE)
            estimate: torch.Tensor = self.mix[2](x)
        return estimate[:, 0].to(frames.dtype)

    def _branches(self, frames: torch.Tensor, axis: int) -> tuple[torch.Tensor, ...]:
        """Features of the two rotations along q (0) or E (1), turned back, each blind along its direction."""
        batch, _, *size = frames.shape
        rows = 1 + self.hidden[axis]
        if size[axis] <= rows:  # all that these directions could see is hidden
            nothing = frames.new_zeros(batch, 2 * self.width, *size)
            return nothing, nothing
        turns = (axis, axis + 2)
        x = torch.cat([torch.rot90(frames, -turn, (2, 3)) for turn in turns])
        if self.whole_neighbours:  # ahead by as much as the features fall back below
            ahead = shift_down(x, -rows)
            centre = self.pattern.centre
            x = torch.cat((ahead[:, :centre], x[:, centre : centre + 1], ahead[:, centre + 1 :]), 1)
        groups = torch.stack([x[:, list(group)] for group in self.pattern.groups], 1)
        y = self.first(groups.flatten(0, 1))
        y = shift_down(self.second(y.unflatten(0, (2 * batch, -1)).flatten(1, 2)), rows)
        return tuple(torch.rot90(part, turn, (2, 3)) for part, turn in zip(y.chunk(2), turns, strict=True))


def paper_network(frames: int = 9, hidden: tuple[int, int] = (1, 1)) -> BlindspotNetwork:
    """Build the paper's network, float32 and in eval mode.

    Parameters
    ----------
    frames : int
        9 for spectrum images, 5 for sequences of frames.
    hidden : (int, int)
        ``(0, 0)`` hides the pixel, ``(1, 1)`` the 3 x 3 pixels around it.

    Raises
    ------
    ValueError
        When `frames` is neither 9 nor 5.
    """
    patterns = {9: GRID, 5: LINE}
    if frames not in patterns:
        raise ValueError(f"the paper's network sees 9 or 5 frames, got {frames}")
    return BlindspotNetwork(patterns[frames], hidden).eval()


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters())
