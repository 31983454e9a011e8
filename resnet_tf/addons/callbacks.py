"""A callback that stops training after a given time."""

import datetime
import time
from typing import Any

import keras


class TimeStopping(keras.callbacks.Callback):
    """Ends training after the first epoch that ends later than a given time, like `tfa.callbacks.TimeStopping`.

    Args:
        seconds: Time in seconds from the start of training.
        verbose: 1 prints a line when training is ended, 0 prints nothing.
    """

    def __init__(self, seconds: int = 86400, verbose: int = 0) -> None:
        super().__init__()
        self.seconds = seconds
        self.verbose = verbose
        self.stopped_epoch: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._end = time.monotonic() + self.seconds
        self.stopped_epoch = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() >= self._end:
            self.model.stop_training = True
            self.stopped_epoch = epoch

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.stopped_epoch is not None and self.verbose:
            trained = datetime.timedelta(seconds=self.seconds)
            print(f"Timed stopping at epoch {self.stopped_epoch + 1} after training for {trained}")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, as tfa's callback does."""
        return {"seconds": self.seconds, "verbose": self.verbose}
