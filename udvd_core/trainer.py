"""Training a network step by step on the frames that are there; nothing it does can make it worse.

Held-out pixels are never a target. They judge the running average of the weights, and the best
average so far is what denoises. A loss that is not finite rolls everything back.
"""

from __future__ import annotations

import copy
import math

import torch
from torch.optim.swa_utils import AveragedModel

from udvd_core.blindspot import BlindspotNetwork

AVERAGED_STEPS = 50
MOST_ROLLBACKS = 3


def _average(old: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Running average over the last third of few steps, over `AVERAGED_STEPS` of many."""
    return old + (new - old) * max(1 / AVERAGED_STEPS, 3 / (int(count) + 3))


class Trainer:
    """Adam on the mean squared error of the pixels that may be targets.

    Parameters
    ----------
    network : BlindspotNetwork
        Trained in place; on its device.
    learning_rate : float
        Halved by each rollback.
    """

    def __init__(self, network: BlindspotNetwork, learning_rate: float) -> None:
        self.network = network
        self.learning_rate = learning_rate
        self.steps = 0
        self.loss = math.nan
        self.held_out = math.nan
        self.rollbacks = 0
        self.stale = 0
        self._average = AveragedModel(network, avg_fn=_average)
        self.best: BlindspotNetwork = copy.deepcopy(network).eval()
        self._optimizer = torch.optim.Adam(network.parameters(), learning_rate)

    @property
    def frozen(self) -> bool:
        """Whether training was given up after too many rollbacks; inference goes on."""
        return self.rollbacks > MOST_ROLLBACKS

    def hide(self, radius: tuple[int, int]) -> None:
        """Hide so many pixels along q and E around each from now on."""
        for network in (self.network, self._average.module, self.best):
            setattr(network, "hidden", radius)  # noqa: B010 - torch types attributes of a module as tensors

    def step(self, windows: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> float:
        """One step of Adam.

        Parameters
        ----------
        windows : tensor, shape (n, neighbours, q, E), standardised
        target, weight : tensor, shape (n, q, E)
            Centre frames, and 0 where a pixel may not be a target.

        Returns
        -------
        float
            Mean squared error over the targets; NaN when the step was rolled back.
        """
        if self.frozen:
            return math.nan
        self.network.train()
        error = (self.network.estimate(windows) - target) ** 2 * weight
        loss = error.sum() / weight.sum().clamp_min(1)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            self._roll_back()
            return math.nan
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self.steps += 1
        self.loss = value if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * value
        return value

    def judge(self, windows: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> float:
        """Score the averaged weights on held-out pixels and keep them if they are the best so far.

        Parameters are those of `step`; `weight` is 1 at held-out pixels only.
        """
        average = self._average.module
        score = self._score(average, windows, target, weight)
        if math.isfinite(score) and not score >= self.held_out:  # NaN, nothing judged yet, counts as worse
            self.best.load_state_dict(average.state_dict())
            self.held_out = score
            self.stale = 0
        else:
            self.stale += 1
        return score

    def rejudge(self, windows: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> None:
        """Score the best weights anew, because the held-out pixels or their scaling changed."""
        self.held_out = self._score(self.best, windows, target, weight)
        self.stale = 0

    @staticmethod
    def _score(network: torch.nn.Module, windows: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> float:
        with torch.inference_mode():
            error = (network.estimate(windows) - target) ** 2 * weight  # type: ignore[operator]
            return float(error.sum() / weight.sum().clamp_min(1))

    def _roll_back(self) -> None:
        """Return to the best weights with half the step size and a fresh optimizer."""
        self.rollbacks += 1
        self.learning_rate /= 2
        self.network.load_state_dict(self.best.state_dict())
        self._average.module.load_state_dict(self.best.state_dict())
        self._optimizer = torch.optim.Adam(self.network.parameters(), self.learning_rate)
