"""Changes that Swift overlooked: a computation of ours that is out of date and that nothing will run again.

nionswift 16.18 takes no note of a change that comes in the one turn of its main loop between the end of a
computation's run and the moment it forgets the run. A map of a running scan would lack its last rows.
"""

from __future__ import annotations

import typing

OURS = "udvd."


def run_overlooked(document_model: typing.Any) -> None:
    """Have our computations run that need it and do not; harmless where a run is due already.

    Parameters
    ----------
    document_model : DocumentModel
        Swift's; this is for its main thread.
    """
    for computation in document_model.computations:
        if computation.needs_update and not computation.is_running and str(computation.processing_id).startswith(OURS):
            computation.computation_mutated_event.fire()
