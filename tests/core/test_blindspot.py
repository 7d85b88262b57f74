"""The network is blind where it must be and sees everything else; its weights are the paper's."""

import itertools

import numpy
import pytest
import torch

from udvd_core import blindspot
from udvd_core.blindspot import BlindspotNetwork, CausalConv, paper_network, parameter_count
from udvd_core.framing import GRID, GRID_TOGETHER, LINE, LINE_TOGETHER

SMALL = [(6, 6), (5, 10), (10, 5), (1, 9), (9, 1), (2, 3), (1, 1)]
HIDDEN = [(0, 0), (1, 1), (0, 1), (0, 2)]


def network_for(pattern, hidden, whole_neighbours, seed=0):
    torch.manual_seed(seed)
    return BlindspotNetwork(pattern, hidden, 2, whole_neighbours).double()


def gradients(network, shape, pixels):
    """How the estimate before the clamp, at each of `pixels`, depends on all inputs: (pixels, neighbours, q, E)."""
    torch.manual_seed(1)
    frames = torch.rand(1, len(network.pattern.offsets), *shape, dtype=torch.float64)
    batch = frames.repeat(len(pixels), 1, 1, 1).requires_grad_()
    q, e = torch.tensor(pixels).T
    estimate = network.estimate(batch)[torch.arange(len(pixels)), q, e].sum()
    (gradient,) = torch.autograd.grad(estimate, batch, allow_unused=True, materialize_grads=True)
    return gradient.numpy()


def rectangle(shape, pixel, radius):
    """Pixels no further than `radius` from `pixel`."""
    q, e = numpy.indices(shape)
    return (abs(q - pixel[0]) <= radius[0]) & (abs(e - pixel[1]) <= radius[1])


def check(network, shape, pixels=None):
    """Assert that hidden pixels have no influence, and that all around them, right up to them, have."""
    pixels = pixels or list(itertools.product(*map(range, shape)))
    centre, hidden = network.pattern.centre, network.hidden
    for pixel, gradient in zip(pixels, gradients(network, shape, pixels), strict=True):
        unseen = rectangle(shape, pixel, hidden)
        others = numpy.delete(gradient, centre, 0)
        assert not gradient[centre][unseen].any(), f"sees hidden pixels of its frame at {pixel} of {shape}"
        rim = rectangle(shape, pixel, (hidden[0] + 1, hidden[1] + 1)) & ~unseen
        assert gradient[centre][rim].all(), f"does not see up to the hidden pixels at {pixel} of {shape}"
        if network.whole_neighbours:
            if any(
                abs(end - at) > radius for at, n, radius in zip(pixel, shape, hidden, strict=True) for end in (0, n - 1)
            ):
                assert others[:, *pixel].all(), f"does not see its neighbours' pixel at {pixel} of {shape}"
        else:
            assert not others[:, unseen].any(), f"sees hidden pixels of neighbours at {pixel} of {shape}"
            assert others[:, rim].all(), f"does not see neighbours up to the hidden pixels at {pixel} of {shape}"


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize(
    ("pattern", "whole_neighbours"),
    [(GRID, False), (LINE, False), (GRID, True), (LINE, True), (GRID_TOGETHER, True), (LINE_TOGETHER, True)],
    ids=["grid", "line", "grid whole", "line whole", "grid whole together", "line whole together"],
)
def test_blind_on_every_pixel(pattern, hidden, whole_neighbours, shape):
    check(network_for(pattern, hidden, whole_neighbours), shape)


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("shape", [(24, 24), (16, 45), (45, 16), (23, 29), (1, 200)], ids=str)
def test_blind_on_larger_frames_at_corners_borders_and_inside(shape, hidden):
    places = [sorted({0, n // 3, n - 2, n - 1} & set(range(n))) for n in shape]
    check(
        network_for(GRID_TOGETHER if shape[0] == 1 else GRID, hidden, shape[0] == 1),
        shape,
        list(itertools.product(*places)),
    )


@pytest.mark.parametrize("frames", [9, 5])
def test_the_papers_own_network_is_blind_on_a_rectangle(frames):
    torch.manual_seed(2)
    check(paper_network(frames).double(), (8, 20), [(0, 0), (3, 11), (7, 19)])


def removed(rows_gone):
    """`shift_down` that leaves out moves by so many rows."""
    shift = blindspot.shift_down
    return lambda x, rows: x if rows == rows_gone else shift(x, rows)


def uncausal(self, x):
    x = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 1, 1, 1)), self.weight)
    return torch.nn.functional.leaky_relu(x, blindspot.SLOPE)


@pytest.mark.parametrize("shape", [(8, 8), (6, 13), (9, 1)], ids=str)
@pytest.mark.parametrize("fault", ["after the second U-Net", "one row too few", "in the pooling", "in the convolution"])
def test_a_fault_would_be_found(monkeypatch, fault, shape):
    hidden = (1, 1)  # features move by two rows, pooling by one
    shift = blindspot.shift_down
    if fault == "after the second U-Net":
        monkeypatch.setattr(blindspot, "shift_down", removed(2))
    elif fault == "one row too few":
        monkeypatch.setattr(blindspot, "shift_down", lambda x, rows: shift(x, min(rows, 1)))
    elif fault == "in the pooling":
        monkeypatch.setattr(blindspot, "shift_down", removed(1))
    else:
        monkeypatch.setattr(CausalConv, "forward", uncausal)
    with pytest.raises(AssertionError, match="sees hidden pixels"):
        check(network_for(GRID, hidden, False), shape)


def test_neighbours_that_are_not_moved_back_would_be_found(monkeypatch):
    monkeypatch.setattr(blindspot, "shift_down", removed(-2))
    with pytest.raises(AssertionError, match="does not see its neighbours' pixel"):
        check(network_for(GRID, (1, 1), True), (8, 8))


def unet_shapes(inputs, outputs):
    """Weights of one U-Net as the paper lists them, encoder then decoder."""
    encoder = [(48, inputs), (48, 48), (48, 48), (48, 48), (48, 48), (48, 48), (96, 48), (96, 96), (48, 96)]
    decoder = [(96, 96)] * 4 + [(96, 96 + inputs), (96, 96), (96, 96), (outputs, 96)]
    return [(*channels, 3, 3) for channels in encoder + decoder]


@pytest.mark.parametrize(("frames", "each", "groups", "count"), [(9, 24, 4, 2_116_752), (5, 32, 3, 2_123_664)])
def test_weights_are_the_papers(frames, each, groups, count):
    network = paper_network(frames)
    assert parameter_count(network) == count
    shapes = [tuple(tensor.shape) for tensor in network.state_dict().values()]
    mix = [(384, 384, 1, 1), (96, 384, 1, 1), (1, 96, 1, 1)]
    assert shapes == unet_shapes(3, each) + unet_shapes(groups * each, 96) + mix
    assert len(shapes) == 37
    assert not network.training
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_weights_are_listed_in_the_order_in_which_they_are_used():
    network = network_for(GRID, (1, 1), False)
    used = []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: used.append(f"{name}.weight"))
    network.estimate(torch.rand(1, 9, 8, 8, dtype=torch.float64))
    assert list(dict.fromkeys(used)) == list(network.state_dict())


def test_only_9_or_5_frames():
    with pytest.raises(ValueError, match="9 or 5 frames, got 7"):
        paper_network(7)


def test_forward_is_the_clamped_estimate():
    network = network_for(LINE, (0, 1), True)
    frames = torch.randn(3, 5, 1, 12, dtype=torch.float64)
    estimate = network.estimate(frames)
    assert (estimate < 0).any() and (estimate > 0).any()
    torch.testing.assert_close(network(frames), estimate.clamp_min(0))


def test_a_spectrum_is_a_frame_with_one_row():
    """The shortcut for one column equals the plain convolution."""
    torch.manual_seed(3)
    conv = CausalConv(3, 5).double()
    x = torch.randn(2, 3, 11, 1, dtype=torch.float64)
    wide = conv(x.expand(-1, -1, -1, 6))
    torch.testing.assert_close(conv(x), wide[..., 2:3])
