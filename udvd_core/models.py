"""The models that a session can be asked for, by name."""

from __future__ import annotations

from udvd_core.buffer import FrameBuffer
from udvd_core.components import PcaModel
from udvd_core.guided import GuideModel
from udvd_core.model import Model, RawModel
from udvd_core.settings import ScanSpec


def open_model(spec: ScanSpec, buffer: FrameBuffer, resume: str | None) -> Model:
    """Open the model that the settings name.

    torch is imported only for a network; where it is not installed the guide stands in for `guided` and says so.

    Parameters
    ----------
    spec : ScanSpec
        The scan.
    buffer : FrameBuffer
        Its frames.
    resume : str or None
        Checkpoint to go on from, of the model `udvd`.
    """
    if spec.training.model == "raw":
        return RawModel(buffer)
    if spec.training.model == "guide":
        return GuideModel(spec, buffer)
    if spec.training.model == "pca":
        return PcaModel(buffer)
    if spec.training.model == "guided":
        try:
            from udvd_core.corrected import GuidedModel
        except ImportError as error:
            guide = GuideModel(spec, buffer)
            guide.warning = (
                f"the guide alone: {error.name or 'torch'} is not installed, pip install 'nionswift-udvd[engine]'"
            )
            return guide
        return GuidedModel(spec, buffer)
    from udvd_core.udvd import UdvdModel

    return UdvdModel(spec, buffer, resume)
