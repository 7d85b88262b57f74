"""Speed of the network, narrow and as in the paper, on one device: pixels a second; one JSON line.

The paper's network pads a frame to a square; the ratio of the two areas is given as ``square``.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from udvd_core.blindspot import BlindspotNetwork, parameter_count
from udvd_core.framing import GRID, GRID_TOGETHER

CASES = {
    "spectra, width 8": (BlindspotNetwork(GRID_TOGETHER, (0, 1), 8, True), (1, 512), 32),
    "spectra, width 8, groups of the paper": (BlindspotNetwork(GRID, (0, 1), 8, True), (1, 512), 32),
    "frames, width 8": (BlindspotNetwork(GRID, (1, 1), 8), (64, 256), 1),
    "frames, paper": (BlindspotNetwork(GRID, (1, 1)), (64, 256), 1),
}


def pixels_per_second(network: BlindspotNetwork, windows: torch.Tensor, train: bool, seconds: float) -> float:
    """Pixels of the centre frame in a second, forward or for a whole training step."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def once() -> None:
        if train:
            optimizer.zero_grad()
            network.estimate(windows).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            with torch.inference_mode():
                network.estimate(windows)
        if windows.is_cuda:
            torch.cuda.synchronize()

    once()  # the first is slower
    begin, passes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        once()
        passes += 1
    return passes * windows.shape[0] * windows.shape[-2] * windows.shape[-1] / elapsed


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, object] = {"device": options.device, "threads": options.threads, "torch": torch.__version__}
    for name, (network, (rows, channels), batch) in CASES.items():
        network.to(options.device)
        windows = torch.randn(batch, 9, rows, channels, device=options.device)
        result[name] = {
            "parameters": parameter_count(network),
            "forward_pixels_per_s": round(pixels_per_second(network, windows, False, options.seconds)),
            "training_pixels_per_s": round(pixels_per_second(network, windows, True, options.seconds)),
            "square": max(rows, channels) / min(rows, channels),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
