"""Ctrl-C and SIGTERM: the step under way is finished and saved, so that a resumed run takes no step twice."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final

from transformers import TrainerCallback

from medvistagym_trl._ranks import gather_from_ranks

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class InterruptCallback(TrainerCallback):
    """Saves and stops at the end of a step after SIGINT or SIGTERM; a second signal ends the run at once.

    Handlers are set while a trainer trains, in the main thread alone; other threads cannot set any.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._received: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the signals."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._take) for number in _SIGNALS}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop, where a signal came: to any process, since all of them take and save the same steps."""
        received = [number for number in gather_from_ranks([self._received]) if number is not None]
        if received:
            self._received = received[0]
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Give the signals back."""
        self.restore()

    def restore(self) -> None:
        """Put back the handlers that there were before."""
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)

    def raise_if_received(self) -> None:
        """End the run.

        Raises:
            KeyboardInterrupt: A signal came while the trainer trained; its last step is saved.
        """
        if self._received is not None:
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            self.restore()
            raise KeyboardInterrupt
        self._received = number
        if os.getpid() == self._process:  # a data loader's process, which is a fork, goes on until the step is finished
            sys.stderr.write("stopping: the step under way is finished and saved; another signal stops at once\n")


def train_interruptibly(trainer: Any, checkpoint: str | None) -> None:
    """`trainer.train`, which a signal ends after a step that is saved.

    Args:
        trainer: A transformers trainer.
        checkpoint: A whole checkpoint to go on from, or None.

    Raises:
        KeyboardInterrupt: A signal came.
    """
    callback = InterruptCallback()
    trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        callback.restore()
        trainer.remove_callback(callback)
    callback.raise_if_received()
