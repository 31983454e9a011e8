"""Keeps OpenVINO and NNCF from sending statistics of their use."""

import sys


def send_nothing() -> None:
    """Makes the package `openvino_telemetry` missing in this process; call it before OpenVINO or NNCF is imported.

    With it, importing OpenVINO makes a folder `intel` in the user's home with an identity of the machine, and tells a
    server of each use: no file that gives consent counts as consent. This holds for all that the process does with
    them, in a notebook too.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it fails, which both of them allow
