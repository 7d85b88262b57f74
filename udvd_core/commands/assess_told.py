"""``python -m udvd_core.commands.assess_told RAW DENOISED``: `udvd assess --json` that tells how far it is.

For programs that show it: lines ``progress SHARE NOTE`` on standard error, then the values as one line on standard
output. Ends as the command line does: 0, or 2 with one line on standard error.
"""

from __future__ import annotations

import json
import sys
import typing

from udvd_core.commands.assess import assess
from udvd_core.commands.assess_report import in_values
from udvd_core.commands.outcome import Progress
from udvd_core.errors import UdvdError
from udvd_core.files import read_scan
from udvd_core.files.scan import plain

TOLD = "progress "


class Told(Progress):
    """Progress in lines, for a program."""

    def update(self, fraction: float, note: str = "") -> None:
        """Write a line."""
        self._stream.write(f"{TOLD}{min(max(fraction, 0.0), 1.0):.4f} {' '.join(note.split())}\n")
        self._stream.flush()


def main(argv: typing.Sequence[str]) -> int:
    """Assess two files; 0, or 2 with one line on standard error."""
    try:
        raw, denoised = map(read_scan, argv)
        values = in_values(assess(raw, denoised, Told("")))
    except (UdvdError, ValueError, MemoryError) as error:
        sys.stderr.write(f"udvd: {' '.join(str(error).split()) or 'not enough memory: take a smaller scan'}\n")
        return 2
    sys.stdout.write(json.dumps(plain(values)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
