"""Tiles cover a frame once and read as far as the network can see."""

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from udvd_core import inference
from udvd_core.blindspot import BlindspotNetwork
from udvd_core.framing import GRID, LINE
from udvd_core.tiling import GRID as STEP
from udvd_core.tiling import HALO, batches, tiles


@given(st.integers(1, 1500), st.integers(1, 700), st.integers(0, 300))
def test_tiles_cover_once_and_keep_to_the_grid(size, length, halo):
    found = tiles(size, length, halo)
    axis = numpy.arange(size)
    assert [n for tile in found for n in axis[tile.inner]] == axis.tolist()
    for tile in found:
        assert axis[tile.outer][tile.kept].tolist() == axis[tile.inner].tolist()
        assert len(axis[tile.inner]) <= length
        assert tile.outer.start % STEP == 0 and (size - tile.outer.stop) % STEP == 0
        assert 0 <= tile.outer.start <= max(0, tile.inner.start - halo)
        assert min(size, tile.inner.stop + halo) <= tile.outer.stop <= size


@given(st.integers(0, 5000), st.integers(1, 700))
def test_batches_cover_once_and_are_never_too_large(count, most):
    found = batches(count, most)
    assert [n for part in found for n in range(part.start, part.stop)] == list(range(count))
    assert all(0 < part.stop - part.start <= most for part in found)


def test_batches_of_any_number_of_frames_have_few_sizes():
    sizes = {part.stop - part.start for count in range(2000) for part in batches(count, 100)}
    assert sizes == {100, 64, 32, 16, 8, 4, 2, 1}


@pytest.mark.parametrize("size", [600, 601, 602, 603])
@pytest.mark.parametrize(("radius", "whole_neighbours"), [(0, False), (0, True), (3, False), (3, True)])
def test_halo_is_as_far_as_the_network_sees(size, radius, whole_neighbours):
    torch.manual_seed(0)
    network = BlindspotNetwork(LINE, (0, radius), 2, whole_neighbours).double()
    for weight in network.parameters():
        weight.data.abs_()  # so that nothing cancels
    places = torch.arange(300, 304)
    frames = torch.rand(len(places), 5, 1, size, dtype=torch.float64, requires_grad=True)
    network.estimate(frames)[torch.arange(len(places)), 0, places].sum().backward()
    seen = [gradient.sum((0, 1)).nonzero()[:, 0] for gradient in frames.grad]
    far = max(max(int(at - s.min()), int(s.max() - at)) for at, s in zip(places, seen, strict=True))
    assert HALO - 8 < far - radius <= HALO


@pytest.mark.parametrize(
    ("shape", "largest", "pattern", "hidden", "whole_neighbours"),
    [
        ((1, 701), (256, 64), GRID, (0, 1), True),
        ((1, 701), (256, 64), LINE, (0, 200), False),
        ((1, 403), (256, 50), LINE, (0, 0), True),
        ((301, 5), (37, 1024), LINE, (1, 1), False),
        ((10, 318), (6, 64), GRID, (1, 1), False),
        ((9, 12), (256, 1024), GRID, (0, 2), False),
    ],
    ids=["spectra", "much hidden", "line", "tall", "frames", "one tile"],
)
def test_tiled_equals_untiled(shape, largest, pattern, hidden, whole_neighbours):
    torch.manual_seed(4)
    network = BlindspotNetwork(pattern, hidden, 2, whole_neighbours)
    windows = torch.randn(2, len(pattern.offsets), *shape)
    with torch.inference_mode():
        whole = network.estimate(windows).numpy()
    result = inference.denoise(network, windows, largest)
    assert result.dtype == numpy.float32
    numpy.testing.assert_allclose(result, whole, rtol=1e-5, atol=1e-5 * abs(whole).max())
    clamped = inference.denoise(network, windows, largest, clamp=True)
    numpy.testing.assert_array_equal(clamped, numpy.maximum(result, 0))


def test_tiles_that_read_too_little_would_be_found(monkeypatch):
    """The comparison above can fail: with weights that let far pixels through, a short halo shows."""
    monkeypatch.setattr(inference, "HALO", 20)
    torch.manual_seed(4)
    network = BlindspotNetwork(LINE, (0, 1), 2, True)
    windows = torch.randn(1, 5, 1, 401)
    with torch.inference_mode():
        whole = network.estimate(windows).numpy()
    result = inference.denoise(network, windows, (256, 40))
    assert abs(result - whole).max() > 1e-4 * abs(whole).max()
