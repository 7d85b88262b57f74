"""Every error the package raises on purpose.

UdvdError
├── InputError      a file, array or option that cannot be used
├── SettingsError   a setting that is unknown or out of range
├── WeightsError    weights that are damaged, hostile or do not fit the network
└── EngineError     the engine cannot do what was asked

A message says what was given, what was wanted and what to do.
"""


class UdvdError(Exception):
    """Base of all errors raised on purpose; shown to the user as one line, without a traceback."""


class InputError(UdvdError, ValueError):
    """A file, array or option that the user gave cannot be used."""


class SettingsError(UdvdError, ValueError):
    """A setting is unknown or out of range."""


class WeightsError(UdvdError, ValueError):
    """Weights are damaged, hostile or do not fit the network."""


class EngineError(UdvdError, RuntimeError):
    """The engine cannot do what was asked: not installed, not running, or failed."""
