"""Scans in files: one module per family of formats, chosen by suffix, checked before use."""

from udvd_core.files.formats import check_output, read_scan, result_suffix, write_scan
from udvd_core.files.scan import Scan

__all__ = ["Scan", "check_output", "read_scan", "result_suffix", "write_scan"]
