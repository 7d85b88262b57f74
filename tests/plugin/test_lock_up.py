"""Items are added to a list of Swift's while a row of it is drawn anew by another thread, as in its data panel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
from nion.ui import CanvasItem, GridFlowCanvasItem, ListCanvasItem
from nion.utils import Geometry, ListModel, Selection
from nionswift_plugin.udvd_live import lock_up

made = []

def make_row(item, is_selected_model):
    made.append(CanvasItem.CanvasItemComposition())
    return made[-1]

items, selection = ListModel.ListModel("items"), Selection.IndexedSelection()
items.append_item("first")
selection.set(0)  # the newest item is, so that rows change when one is added
delegate = GridFlowCanvasItem.GridFlowCanvasItemDelegate()
shown = ListCanvasItem.ListCanvasItem2(
    items, selection, make_row, delegate, item_height=80, key="items", is_shared_selection=True
)
CanvasItem.ScrollAreaCanvasItem(shown).update_layout(Geometry.IntPoint(), Geometry.IntSize(400, 200))
if sys.argv[1] == "with":
    lock_up.register()
over = threading.Event()

def add():
    for number in range(1000):
        items.insert_item(0, number)
        items.remove_item(0)
    over.set()

def renew():
    while not over.is_set():
        made[0].update()

sys.setswitchinterval(1e-5)
for work in (add, renew):
    threading.Thread(target=work, daemon=True).start()
print("done" if over.wait(float(sys.argv[2])) else "locked up", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("how", "seconds", "says"), [("without", 3, "locked up"), ("with", 60, "done")])
def test_a_list_and_its_row_do_not_wait_for_each_other(how, seconds, says):
    """Were it done without lock_up.py, Nion would have mended it, and we would need it no longer for that version."""
    command = [sys.executable, "-c", PROGRAM, how, str(seconds)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (told.stdout.strip(), told.stderr) == (says, "")
