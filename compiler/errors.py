"""Every error the compiler raises on purpose, and the exit status each one means.

::

    CompressError               the root
    ├── UserError               2   the user can mend it; one clear line, no traceback
    │   ├── UsageError              an unknown pass, option, layer pattern or recipe key
    │   ├── ModelError              a file that is no valid or no loadable ONNX model
    │   ├── DataError               data that does not fit the model's inputs
    │   └── OutputError             the result can't be written where it was asked for
    └── PassError               1   a pass failed: our own fault, with a reproducer

A message is one line with four parts: where, which thing, what is wrong, what to do about it.
"""

from __future__ import annotations


class CompressError(Exception):
    """The root of all errors raised on purpose; `exit_status` is what the command line returns."""

    exit_status = 1


class UserError(CompressError):
    """Bad usage or bad input: the message says what, where and the remedy."""

    exit_status = 2


class UsageError(UserError):
    """An unknown pass, option, pattern or key, or values that contradict each other."""


class ModelError(UserError):
    """A file that is no valid ONNX model, or that onnxruntime can't load."""


class DataError(UserError):
    """Calibration or evaluation data that does not fit the model's inputs."""


class OutputError(UserError):
    """The result can't be written: no permission, no space, or it would overwrite something."""


class PassError(CompressError):
    """A pass broke the model or crashed.

    `pass_name` is the pass, `node` the node it worked on (may be empty), `passes_before` those that
    had already run, `last_good` the model before it (an `ir.model.Model`), set by the pass manager.
    """

    def __init__(self, message: str, *, pass_name: str, node: str = "", passes_before: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.pass_name = pass_name
        self.node = node
        self.passes_before = passes_before
        self.last_good: object = None
