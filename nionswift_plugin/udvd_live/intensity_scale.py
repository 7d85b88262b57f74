"""The same intensity scale for several displays, and each its own again."""

from __future__ import annotations

import functools
import gettext
import math
import threading
import typing

from udvd_core.errors import InputError

_ = gettext.gettext

Displays = typing.Sequence[typing.Any]
"""Display items of Swift."""


def toggle(displays: Displays, later: typing.Callable[[typing.Callable[[], None]], None]) -> None:
    """Give displays common limits, from the lowest to the highest value shown; their own again if they have such.

    Spectrum images are shown in the same channels first, those of the first one.

    Parameters
    ----------
    displays : sequence of DisplayItem
        Two or more.
    later : callable
        Runs something on the main thread, where this is called, too: what is shown is looked through on another one.

    Raises
    ------
    InputError
        When there are fewer than two, or their values have different units.
    """
    channels = [display.display_data_channels[0] for display in displays if display.display_data_channels]
    items = [channel.data_item for channel in channels if channel.data_item is not None]
    if len(items) < 2 or len(items) < len(displays):
        raise InputError(_("Select two or more maps or spectrum images that are to have the same intensity scale."))
    units = {str(item.intensity_calibration.units if item.intensity_calibration else "") for item in items}
    if len(units) > 1:
        raise InputError(f"The selected items are in {' and '.join(sorted(units))}; select items with the same units.")
    limits = {channel.display_limits for channel in channels}
    if len(limits) == 1 and None not in (next(iter(limits)) or (None,)):
        _set(channels, None)
        return
    sliced = [channel for channel in channels if channel.is_sliced]
    if len({channel.data_item.data_shape[-1] for channel in sliced}) == 1:
        for channel in sliced[1:]:
            channel.slice_interval = sliced[0].slice_interval
    shown = [_display_values(channel) for channel in channels]

    def look() -> None:
        later(functools.partial(_set_common, channels, [each.data_range for each in shown]))

    threading.Thread(target=look, name="udvd-intensity-scale", daemon=True).start()


def _display_values(channel: typing.Any) -> typing.Any:
    """What a display shows; Swift 16.18 has a property for it."""
    return channel.display_values if hasattr(channel, "display_values") else channel.get_latest_display_values()


def _set_common(channels: typing.Sequence[typing.Any], ranges: typing.Sequence[tuple[float, float] | None]) -> None:
    known = [each for each in ranges if each is not None and all(map(math.isfinite, each))]
    if not known:
        raise InputError(_("The selected items show no values yet; wait until they do."))
    _set(channels, (float(min(low for low, _high in known)), float(max(high for _low, high in known))))


def _set(channels: typing.Sequence[typing.Any], limits: tuple[float, float] | None) -> None:
    for channel in channels:
        channel.display_limits = limits or (None, None)
