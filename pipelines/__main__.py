"""`python -m pipelines …`, the same as `resnet-tf …`."""

import sys

from pipelines.console.signals import ending_at_once, stop_handling


def run() -> None:
    """Runs the command line of this process, which Ctrl-C and SIGTERM end quietly from the first import on."""
    with ending_at_once():
        from pipelines.cli import main
    status = main()
    stop_handling()  # what Python does at its end is not worth a traceback
    sys.exit(status)


if __name__ == "__main__":
    run()
