"""Numerics, state and engines of the live UDVD companion; imports no Nion package and no torch."""

__version__ = "0.1.0"
