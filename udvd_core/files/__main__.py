"""``python -m udvd_core.files SOURCE TARGET``: a scan into another format, its provenance kept.

For programs that must not do it themselves: HDF5 lets no other thread in while it compresses.
"""

from __future__ import annotations

import sys
import typing

from udvd_core.errors import UdvdError
from udvd_core.files.formats import read_scan, write_scan


def main(argv: typing.Sequence[str]) -> int:
    """Convert a file; 0, or 2 with one line on standard error."""
    try:
        source, target = argv
        scan = read_scan(source)
        write_scan(target, scan, scan.metadata.get("udvd", {}))
    except (UdvdError, ValueError) as error:
        sys.stderr.write(f"udvd: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
