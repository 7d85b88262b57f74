"""A home folder in which Swift starts at once with an empty project: profile, plug-in settings, driver, colours."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing
import uuid

from nion.swift.model import FileStorageSystem

DRIVER = pathlib.Path(__file__).parent / "driver"

# Breeze Dark as KDE writes it into kdeglobals when it is chosen there. Swift's launcher brings a Qt of its own, without
# the themes of a desktop; Qt's built-in one reads this file. An operator under KDE has these very colours, and so has
# a bare X server. On Windows the launcher asks for the style "windowsvista", which is light whatever the desktop is.
DARK = {
    "General": {"ColorScheme": "BreezeDark"},
    "KDE": {"widgetStyle": "fusion"},
    "Colors:Window": {"BackgroundNormal": "49,54,59", "ForegroundNormal": "239,240,241"},
    "Colors:Button": {"BackgroundNormal": "60,65,70", "ForegroundNormal": "239,240,241"},
    "Colors:View": {
        "BackgroundNormal": "35,38,41",
        "BackgroundAlternate": "45,48,51",
        "ForegroundNormal": "239,240,241",
        "ForegroundLink": "80,160,230",
        "ForegroundVisited": "150,130,200",
    },
    "Colors:Selection": {"BackgroundNormal": "61,174,233", "ForegroundNormal": "239,240,241"},
    "Colors:Tooltip": {"BackgroundNormal": "49,54,59", "ForegroundNormal": "239,240,241"},
}
DARK_ENVIRONMENT = {"XDG_CURRENT_DESKTOP": "KDE", "KDE_SESSION_VERSION": "5", "KDE_FULL_SESSION": "true"}


def provision(home: pathlib.Path, settings: typing.Mapping[str, typing.Any]) -> None:
    """Fill an empty home folder.

    Parameters
    ----------
    home : path
        Swift's HOME; the project becomes ``home / "Projects" / "Lab.nsproj"``.
    settings : mapping
        The plug-in's settings.
    """
    data = home / ".local" / "share" / "Nion" / "Nion Swift"
    project, project_uuid, reference = home / "Projects" / "Lab.nsproj", str(uuid.uuid4()), str(uuid.uuid4())
    _write(
        project,
        version=FileStorageSystem.PROJECT_VERSION,
        uuid=project_uuid,
        project_data_folders=["Lab Data"],
    )
    _write(
        data / "Profile.nsproj",
        version=FileStorageSystem.PROFILE_VERSION,
        uuid=str(uuid.uuid4()),
        project_references=[
            {"type": "project_index", "uuid": reference, "project_uuid": project_uuid, "project_path": str(project)}
        ],
        last_project_reference=reference,
    )
    _write(home / ".config" / "Nion" / "Nion Swift" / "udvd_live.json", **settings)
    shutil.copytree(DRIVER, data / "PlugIns" / "udvd_driver", ignore=shutil.ignore_patterns("__pycache__"))


def darken(home: pathlib.Path) -> None:
    """Give the home folder the colours that Swift shows with `DARK_ENVIRONMENT`."""
    lines = []
    for part, values in DARK.items():
        lines += [f"[{part}]", *(f"{name}={value}" for name, value in values.items())]
    (home / ".config").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "kdeglobals").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(path: pathlib.Path, **values: typing.Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
