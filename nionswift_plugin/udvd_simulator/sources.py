"""What the simulated camera plays: a simulated sample or a recorded scan."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing

import numpy
import numpy.typing

from udvd_core import files, simulate
from udvd_core.axes import Axis
from udvd_core.detector import Detector, Recording
from udvd_core.errors import InputError, SettingsError

Array = numpy.typing.NDArray[numpy.float32]

_SAMPLES = {"h-bn": simulate.simulate_hbn, "phonon": simulate.simulate_phonon}
_SEED_STEP = 1_000_003  # between repeats of a scan, so that neighbouring seeds do not meet


class FrameSource(typing.Protocol):
    """Frames in counts by their index; the same index always gives the same frame."""

    @property
    def shape(self) -> tuple[int, int]:
        """Detector rows and channels (q, E); q is 1 for spectra."""
        ...

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Rows and columns (y, x) of what is played; index ``y * columns + x``."""
        ...

    @property
    def energy(self) -> Axis:
        """The energy-loss axis, eV."""
        ...

    def frame(self, index: int) -> Array:
        """Frame at `index`, shape (q, E), counts; an index beyond the scan plays the scan again."""
        ...

    def spectrum(self, index: int) -> Array:
        """The frame at `index` summed over q, shape (E,), counts."""
        ...


@dataclasses.dataclass(frozen=True)
class SimulatorConfig:
    """What ``UDVD_SIMULATOR`` describes.

    Attributes
    ----------
    source : str
        Name of a simulated sample, or path of a recorded scan.
    counts : float
        Mean counts per frame of a simulated sample.
    seed : int
        Seed of the noise.
    size : (int, int)
        Rows and columns of a simulated sample.
    q_rows, channels : int
        Detector size of a simulated sample.
    spreading : float
        Probability that an electron also counts in a neighbour pixel.
    dead_pixels : int
        Pixels of a simulated detector that count nothing.
    gap_columns : tuple of int
        Channels of a simulated detector that lie between chips and count nothing.
    energy : str or None
        Energy axis ``OFFSET:STEP`` of a recorded scan, eV; None takes the file's own.
    """

    source: str = "h-bn"
    counts: float = 5000.0
    seed: int = 1
    size: tuple[int, int] = (32, 32)
    q_rows: int = 16
    channels: int = 512
    energy: str | None = None
    spreading: float = 0.25
    dead_pixels: int = 0
    gap_columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.counts > 0:
            raise SettingsError(f"simulator counts is {self.counts}; want more than 0 per frame")
        if len(self.size) != 2 or min(self.size) < 1:
            raise SettingsError(f"simulator size is {self.size}; want two numbers (y, x) of at least 1")
        if min(self.q_rows, self.channels) < 1:
            raise SettingsError(
                f"simulator detector has {self.q_rows} rows and {self.channels} channels; want at least 1 of each"
            )

    @staticmethod
    def from_json(text: str) -> SimulatorConfig:
        """Read a JSON object; keys that are left out take their defaults.

        Raises
        ------
        SettingsError
            When the text is no JSON object, or a key is unknown or out of range.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(f"the simulator's description is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise SettingsError(
                f'the simulator\'s description is {text!r}; want an object such as {{"source": "h-bn"}}'
            )
        known = {field.name for field in dataclasses.fields(SimulatorConfig)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingsError(f"the simulator does not know {unknown}; it knows {sorted(known)}")
        try:
            if "size" in values:
                values["size"] = tuple(int(size) for size in values["size"])
            values.update(
                {key: int(values[key]) for key in ("seed", "q_rows", "channels", "dead_pixels") if key in values}
            )
            if "gap_columns" in values:
                values["gap_columns"] = tuple(int(column) for column in values["gap_columns"])
            if values.get("energy") is not None:
                values["energy"] = str(values["energy"])
            values.update({key: float(values[key]) for key in ("counts", "spreading") if key in values})
            return SimulatorConfig(**{**values, "source": str(values.get("source", "h-bn"))})
        except (TypeError, ValueError) as error:
            raise SettingsError(f"the simulator's description cannot be used: {error}") from None

    def to_json(self) -> str:
        """JSON text for ``UDVD_SIMULATOR``; `from_json` is its inverse."""
        return json.dumps(dataclasses.asdict(self))

    def describe(self) -> dict[str, typing.Any]:
        """Plain values for metadata."""
        return dict(json.loads(self.to_json()))


class RecordedSource:
    """A recorded scan, played as it is, over and over; spectra play as frames of one row.

    Parameters
    ----------
    scan : Scan
        Counts with one to three scan axes; a line is one row, repeated scans follow each other.
    """

    def __init__(self, scan: files.Scan) -> None:
        columns = scan.scan_shape[-1]
        self.scan_shape = (scan.count // columns, columns)
        self.shape = scan.frame_shape
        self.energy = scan.energy
        self._scan = scan

    def frame(self, index: int) -> Array:
        """Frame at `index` modulo the length of the recording, shape (q, E), counts."""
        position = index % self._scan.count
        return typing.cast(Array, self._scan.frames(position, position + 1)[0])

    def spectrum(self, index: int) -> Array:
        """The frame at `index` summed over q, shape (E,), counts."""
        frame = self.frame(index)
        if len(frame) == 1:
            return typing.cast(Array, frame[0])
        summed: Array = frame.sum(axis=0, dtype=numpy.float64).astype(numpy.float32)
        return summed


class SimulatedSource:
    """A simulated sample on a counting detector; an index beyond the scan has the same mean and new noise.

    Parameters
    ----------
    sample : Sample
        What is on the stage.
    detector : Detector
        What counts it.
    """

    def __init__(self, sample: simulate.Sample, detector: Detector) -> None:
        rows, columns = sample.scan_shape
        self.scan_shape = (int(rows), int(columns))
        self.shape = sample.frame_shape
        self.energy = sample.energy
        self.recording = detector.record(sample)
        self._repeats = {0: self.recording}

    def frame(self, index: int) -> Array:
        """Frame at `index`, shape (q, E), counts."""
        recording, position = self._at(index)
        return recording.frame(position)

    def spectrum(self, index: int) -> Array:
        """The frame at `index` summed over q, shape (E,), counts."""
        recording, position = self._at(index)
        return recording.spectrum(position)

    def _at(self, index: int) -> tuple[Recording, int]:
        repeat, position = divmod(index, self.recording.sample.count)
        if repeat not in self._repeats:
            detector = self.recording.detector
            seed = detector.seed + _SEED_STEP * repeat
            self._repeats[repeat] = dataclasses.replace(detector, seed=seed).record(self.recording.sample)
        return self._repeats[repeat], position


def build_source(config: SimulatorConfig) -> FrameSource:
    """Build what `config` describes.

    Raises
    ------
    InputError
        When the recorded scan is missing or cannot be read, or the sample is not known.
    """
    if pathlib.Path(config.source).suffix:
        return RecordedSource(files.read_scan(config.source, config.energy))
    if config.source not in _SAMPLES:
        raise InputError(
            f"the simulator's source is {config.source!r};"
            f" want one of {sorted(_SAMPLES)} or the path of a recorded scan"
        )
    sample = _SAMPLES[config.source](
        config.size, config.channels, counts=config.counts, q_rows=config.q_rows, seed=config.seed
    )
    detector = Detector(
        config.spreading, dead_pixels=config.dead_pixels, gap_columns=config.gap_columns, seed=config.seed
    )
    return SimulatedSource(sample, detector)
