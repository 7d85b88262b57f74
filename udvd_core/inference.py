"""One denoising pass: standardised frames through a network, in tiles where frames are large."""

from __future__ import annotations

import numpy
import numpy.typing
import torch

from udvd_core.blindspot import BlindspotNetwork
from udvd_core.tiling import HALO, tiles

Array = numpy.typing.NDArray[numpy.float32]


def denoise(
    network: BlindspotNetwork, windows: torch.Tensor, largest: tuple[int, int] = (256, 1024), clamp: bool = False
) -> Array:
    """Denoise the centre frames of some windows.

    Parameters
    ----------
    windows : tensor, shape (n, neighbours, q, E)
        Standardised frames in the order of the network's pattern, on the network's device.
    largest : (int, int)
        Rows and channels of the largest tile.
    clamp : bool
        Whether to end with the paper's clamp at 0.

    Returns
    -------
    array, shape (n, q, E), float32
        Equal to one pass over whole frames, to rounding.
    """
    rows, channels = windows.shape[-2:]
    halo_q, halo_e = (HALO + radius for radius in network.hidden)
    result = numpy.empty((len(windows), rows, channels), numpy.float32)
    with torch.inference_mode():
        for row in tiles(rows, largest[0], halo_q):
            for channel in tiles(channels, largest[1], halo_e):
                part = network.estimate(windows[..., row.outer, channel.outer])
                part = part[:, row.kept, channel.kept]
                result[:, row.inner, channel.inner] = (part.clamp_min(0) if clamp else part).cpu().numpy()
    return result
