"""Several maps, each with its sigma, as the results of one computation of Swift."""

from __future__ import annotations

import dataclasses
import typing

import numpy
import numpy.typing
from nion.data import Calibration, DataAndMetadata
from nion.swift import Facade
from nion.swift.model import DataItem, Symbolic

from udvd_core.axes import Axis
from udvd_core.maps.covariance import Covariance, cut
from udvd_core.noise import NoiseModel

from .maps_computation import MAP, SIGMA, base_title, create_item, hand_over, title_of
from .scan_errors import Errors, blocks, errors_of, scan_of
from .scan_item import OURS

Array = numpy.typing.NDArray[typing.Any]
Channels = typing.Callable[[Axis], tuple[slice, Axis]]


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Some channels of a spectrum image.

    Attributes
    ----------
    values : array, shape (n, E), float32
        Counts, summed over q.
    energy : Axis
        Energy loss of these channels, eV.
    shape : tuple of int
        Positions of the scan, n in all.
    known : NoiseModel or Covariance or None
        The measured noise of a raw scan, or what denoising left of errors; None where nothing is known.
    errors : Errors
        Where this comes from.
    """

    values: Array
    energy: Axis
    shape: tuple[int, ...]
    known: NoiseModel | Covariance | None
    errors: Errors

    def facts(self, caption: str = "") -> dict[str, typing.Any]:
        """For the metadata of maps, with a caption that names what was filled, too."""
        told = " ".join(each for each in (caption, self.errors.filled) if each)
        return {"sigma": self.errors.origin, "independent": self.errors.independent, "caption": told}


def read_spectra(scan: DataItem.DataItem, channels: Channels) -> Spectra:
    """Read the channels that a map needs, on the computation's thread.

    Parameters
    ----------
    channels : callable
        Gives, for the energies of the scan, the channels and their energies.

    Raises
    ------
    InputError
        When the item is no spectrum image, or the channels do not lie on it.
    """
    layout, energy = scan_of(scan)
    part, near = channels(energy)
    with scan.data_ref():
        errors = errors_of(scan, layout, energy)
        values = numpy.concatenate([spectra[:, part] for _, spectra in blocks(scan, layout, errors.defects)])
    known = None if errors.covariance is None else cut(errors.covariance(0), part.start)
    return Spectra(values, near, layout.scan_shape, known, errors)


class MapResults:
    """Base of computations whose results are a map and its sigma for each of some keys: `key` and `key_sigma`."""

    def __init__(self, computation: Facade.Computation, **kwargs: typing.Any) -> None:
        self._computation = computation
        self._results: dict[str, DataAndMetadata.DataAndMetadata] = {}

    def put(
        self,
        key: str,
        source: DataItem.DataItem,
        name: str,
        units: str,
        values: Array,
        sigma: Array,
        facts: typing.Mapping[str, typing.Any],
    ) -> None:
        """Keep one map for `commit`; on the computation's thread.

        Parameters
        ----------
        source : DataItem
            The spectrum image, or another map of it.
        name, units : str
            What the map shows, and in what.
        values, sigma : array, shape of the scan
            Sigma is infinite where there is no value, NaN where it is not known.
        facts : mapping
            For the metadata; a ``"caption"`` is shown with the map.
        """
        given = self._computation._computation
        ours = {"map": {"name": name}, "source_uuid": str(source.uuid), "source_title": source.title, **facts}
        ours |= {"base_title": base_title(source), "computation": f"{given.uuid}/{key}"}
        for kind, data in ((SIGMA, sigma), (MAP, values)):  # what depends on the map finds its sigma made
            self._results[output_of(key, kind)] = DataAndMetadata.new_data_and_metadata(
                data.astype(numpy.float32),
                intensity_calibration=Calibration.Calibration(units=units),
                dimensional_calibrations=list(source.dimensional_calibrations[: data.ndim]),
                metadata={OURS: {**ours, "kind": kind, "title": title_of(source, name, kind)}},
                data_descriptor=DataAndMetadata.DataDescriptor(data.ndim == 3, 0, min(data.ndim, 2)),
            )

    def commit(self) -> None:
        """Hand over what was made; a title that the operator has not changed follows the name."""
        for output, xdata in self._results.items():
            hand_over(self._computation, output, xdata)


def output_of(key: str, kind: str) -> str:
    """Name of a computation's result: ``position`` and ``position_sigma``."""
    return key if kind == MAP else f"{key}_{SIGMA}"


def create_results(
    document_model: typing.Any,
    computation: Symbolic.Computation,
    source: DataItem.DataItem,
    names: typing.Mapping[str, str],
) -> list[DataItem.DataItem]:
    """Make the items of a computation's results and start it; on the main thread.

    Parameters
    ----------
    names : mapping
        What each map shows, by key.

    Returns
    -------
    list of DataItem
        The maps, without their sigmas.
    """
    maps = []
    for key, name in names.items():
        for kind in (MAP, SIGMA):
            item = create_item(document_model, source, {"kind": kind}, title_of(source, name, kind))
            computation.create_output_item(output_of(key, kind), Symbolic.make_item(item))
            if kind == MAP:
                maps.append(item)
    document_model.append_computation(computation)
    return maps
