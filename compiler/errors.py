"""All errors that the compiler raises on purpose, with their exit statuses.

::

    CompressError               the root
    ├── UserError               2   the user can fix it; one clear line, no traceback
    │   ├── UsageError              an unknown pass, option, layer pattern or recipe key
    │   ├── ModelError              a file that is not a valid ONNX model, or does not load
    │   ├── DataError               data that does not fit the model's inputs
    │   └── OutputError             the result can't be written to the given path
    └── PassError               1   a pass failed: a bug of ours, with a reproducer

A message is one line with four parts: where, which thing, what is wrong, and the remedy.
"""

from __future__ import annotations


class CompressError(Exception):
    """The root of all errors raised on purpose; `exit_status` is what the command line returns."""

    exit_status = 1


class UserError(CompressError):
    """Bad usage or bad input: the message states what is wrong, where, and the remedy."""

    exit_status = 2


class UsageError(UserError):
    """An unknown pass, option, pattern or key, or values that contradict each other."""


class ModelError(UserError):
    """A file that is not a valid ONNX model, or that onnxruntime can't load."""


class DataError(UserError):
    """Calibration or evaluation data that does not fit the model's inputs."""


class OutputError(UserError):
    """The result can't be written: no permission, no space, or it would overwrite a file."""


class PassError(CompressError):
    """A pass broke the model or crashed.

    `pass_name` is the pass, `node` the node it worked on (may be empty), `passes_before` the passes that had
    already run, `last_good` the model before the pass (an `ir.model.Model`), set by the pass manager.
    """

    def __init__(self, message: str, *, pass_name: str, node: str = "", passes_before: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.pass_name = pass_name
        self.node = node
        self.passes_before = passes_before
        self.last_good: object = None
