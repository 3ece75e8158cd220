"""Who is told outside the forge that something needs them, and whether that works. Nobody is sent anything."""

from __future__ import annotations

from collections.abc import Iterator

from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.notify_channels import HOW, listed

AREA = "notify"


def look(deployment: Deployment) -> Iterator[Finding]:
    """One finding for each channel, or that there is none."""
    if deployment.host.runs not in ("all", "daemon"):
        return
    found = listed(deployment)
    if not found:
        yield note(AREA, "channels", "what needs somebody stands on the dashboard only: nobody is told of it", HOW)
    for one in found:
        waits = f"; {one['waiting']} things still to be told" if one["waiting"] else ""
        if one["trouble"]:
            yield problem(AREA, one["name"], f"{one['place']}: {one['trouble']}{waits}", one["hint"])
        elif one["clear"]:
            words = f"{one['place']} is told over http: who sees the network can read it, and write there too{waits}"
            yield note(AREA, one["name"], words, "an address that begins with https")
        else:
            yield ok(AREA, one["name"], f"{one['place']}{waits}")
