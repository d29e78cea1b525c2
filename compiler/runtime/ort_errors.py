"""onnxruntime's error messages as one clear line.

They have an error code, a source path and a C++ signature in front of the sentence that matters, and sometimes end
with advice for onnxruntime's developers. Only the sentence and the node's name are kept; frequent errors get a
remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import onnxruntime

LONGEST = 300
"""Most characters of onnxruntime's own text that an error repeats."""

_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_SOURCE = re.compile(r"(?:\S*/)?\w+\.(?:cc|h|cpp|hpp):\d+:? ")
_LOADING = re.compile(r"^(?:Load model (?:from \S+ )?failed:)+\s*")


def explain(error: Exception) -> str:
    """The cause of an onnxruntime exception in one line, with the remedy if known."""
    text = plain(str(error))
    for pattern, explanation in _KNOWN:
        found = pattern.search(text)
        if found:
            return explanation(found)
    return text[:LONGEST].rstrip(". ") or type(error).__name__


def plain(message: str) -> str:
    """`message` without error code, source position and signature, with whitespace collapsed."""
    text = _CODE.sub("", " ".join(message.split()))
    position = _SOURCE.search(text)
    while position:
        text = text[: position.start()] + _without_signature(text[position.end() :])
        position = _SOURCE.search(text)
    return _LOADING.sub("", text).strip()


def _without_signature(text: str) -> str:
    """`text` without the C++ signature or the bare function name in front of it."""
    head = re.match(r"[\w:<>~*&,. ]+?\(", text)
    if head is None or "::" not in head.group():
        return re.sub(r"^[A-Z]\w*[a-z]\w*[A-Z]\w* ", "", text)
    end = _closing(text, head.end())
    return re.sub(r"^ ?(?:const\b)? ?(?:\[with [^]]*\])? ?", "", text[end:])


def _closing(text: str, start: int) -> int:
    """The position behind the parenthesis that closes the one just before `start`; the end if none does."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    return len(text)


def _version() -> str:
    return f"onnxruntime {onnxruntime.__version__}"


_KNOWN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r'In Node, \("([^"]*)", (\w+), .*No Op registered for \w+ with domain_version of (\d+)'),
        lambda m: f"node '{m[1]}': opset {m[3]} has no operator {m[2]}",
    ),
    (
        re.compile(r"Fatal error: ([\w.-]+):(\w+)\(-?\d+\) is not a registered function/op"),
        lambda m: f"the operator {m[2]} of the domain '{m[1]}' is unknown to {_version()}",
    ),
    (
        re.compile(r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)"),
        lambda m: (
            f"opset {m[1]} of {m[2]} is newer than the {m[3]} that {_version()} supports: "
            "update onnxruntime, or export the model with an older opset"
        ),
    ),
    (
        re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
        lambda m: f"IR version {m[1]} is newer than the {m[2]} that {_version()} supports: update onnxruntime",
    ),
    (
        re.compile(r"Could not find an implementation for (\w+)\((\d+)\) node with name '([^']*)'"),
        lambda m: f"node '{m[3]}': {_version()} has no CPU kernel for {m[1]} with these element types",
    ),
    (
        re.compile(r"running (\w+) node\. Name:'([^']*)' Status Message: (.*)"),
        lambda m: f"node '{m[2]}' ({m[1]}): {m[3][:LONGEST].rstrip('. ')}",
    ),
    (
        re.compile(r"Unexpected input data type\. Actual: \((.*?)\) ?, expected: \((.*?)\)"),
        lambda m: f"an input is {m[1]} where the model takes {m[2]}",
    ),
    (
        re.compile(r"(?:Protobuf parsing failed|protobuf parsing failed|No graph was found in the protobuf)"),
        lambda _: "not an ONNX model, or the file is truncated",
    ),
    (
        re.compile(r"(?:Numpy_type \d+ can't be converted|No corresponding Numpy type)"),
        lambda _: "an input or output has an element type that onnxruntime can't exchange with NumPy",
    ),
)
