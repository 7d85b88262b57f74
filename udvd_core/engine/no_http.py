"""Loaded by dask's scheduler and workers: closes the port for HTTP that they open even without a dashboard."""

from __future__ import annotations

import typing


def dask_setup(server: typing.Any) -> None:
    """Close the port, which TLS does not cover; called by dask."""
    server.http_server.stop()
