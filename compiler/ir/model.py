"""A model as passes see it: a graph, its opsets, and everything else its file says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import clone, save
from onnx_compress.compiler.ir.exporter import embedded, export_graph, placeholder
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.importer import import_graph
from onnx_compress.compiler.ir.inline import inlined

PROTO_LIMIT = (1 << 31) - (1 << 20)
"""Bytes of weights up to which a model fits one protobuf message (2 GiB, less a margin for the graph)."""
PLACEHOLDER_LIMIT = 1024

logging.getLogger("onnx_ir").setLevel(logging.ERROR)


class Model:
    """A loaded model.

    `graph` is the main graph, `header` the ModelProto without graph and functions (versions, producer,
    opsets, metadata). `version` counts the edits: two equal numbers mean that nothing changed between.
    """

    def __init__(self, graph: Graph, header: onnx.ModelProto, path: Path | None = None) -> None:
        self.graph = graph
        self.header = header
        self.path = path
        self.version = 0
        self.taken: set[str] | None = None
        """Names in use or used before, kept by `edit.fresh_name`; None until the first new name."""

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model file; weights stay in it until needed. Raises ModelError with one clear line."""
        path = Path(path)
        try:
            proto = onnx.load(path, load_external_data=False)
        except FileNotFoundError:
            raise ModelError(f"{path}: there is no such file") from None
        except IsADirectoryError:
            raise ModelError(f"{path} is a folder, not an ONNX model") from None
        except PermissionError:
            raise ModelError(f"{path}: no permission to read it") from None
        except (DecodeError, ValueError, OSError):
            raise ModelError(f"{path} is no ONNX model, or it is truncated") from None
        try:
            return cls.from_proto(proto, path.parent, path)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto, folder: Path | None = None, path: Path | None = None) -> Model:
        """Take a ModelProto, which must not be changed afterwards; `folder` is where its external data lies."""
        if not proto.graph.node and not proto.graph.output:
            raise ModelError("the model is empty: it has no node and no output")
        if not proto.opset_import:
            raise ModelError("the model declares no opset: the file is damaged or no ONNX model")
        proto = inlined(proto)
        header = onnx.ModelProto()
        for field, value in proto.ListFields():
            if field.name in ("graph", "functions"):
                continue
            if isinstance(value, (int, str, bytes)):
                setattr(header, field.name, value)
            else:
                getattr(header, field.name).extend(value)
        return cls(import_graph(proto.graph, folder), header, path)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators that the model uses; 0 when it imports only other domains."""
        return max((o.version for o in self.header.opset_import if o.domain in ("", "ai.onnx")), default=0)

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata_props (class names, alphabets, how to prepare inputs)."""
        return {entry.key: entry.value for entry in self.header.metadata_props}

    def nodes(self) -> Iterator[Node]:
        """Every node, those in bodies of If, Loop and Scan included; safe against edits while iterating."""
        return self.graph.walk()

    def constants(self) -> Iterator[Constant]:
        """Every initializer, those of bodies included, in the order of the file."""
        for graph in self.graph.graphs():
            yield from graph.initializers

    def inputs(self) -> list[Variable]:
        """The inputs that a caller must give: those without an initializer as default."""
        return [tensor for tensor in self.graph.inputs if isinstance(tensor, Variable)]

    def outputs(self) -> list[Tensor]:
        """The outputs, in order."""
        return list(self.graph.outputs)

    def weight_bytes(self) -> int:
        """Bytes of all initializers and tensor attributes as plain tensors."""
        attributes = (v for node in self.nodes() for v in node.attrs.values() if isinstance(v, Constant))
        return sum(c.nbytes for c in self.constants()) + sum(c.nbytes for c in attributes)

    def proto(self) -> onnx.ModelProto:
        """The model as one message with all weights in it. Raises ModelError above 2 GiB: save it instead."""
        if self.weight_bytes() > PROTO_LIMIT:
            raise ModelError("the weights exceed 2 GiB and do not fit one message: save the model to a file instead")
        return self._assemble(export_graph(self.graph, embedded))

    def skeleton(self, limit: int = PLACEHOLDER_LIMIT) -> onnx.ModelProto:
        """The model with weights above `limit` bytes left out, for shape inference and the like."""
        return self._assemble(export_graph(self.graph, lambda constant: placeholder(constant, limit)))

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the model to `path`, atomically; above 2 GiB the weights go into `path` + `.data`.

        Raises OutputError when a file is there already (unless `force`) or can't be written.
        """
        save.write(self.graph, self._assemble, Path(path), force=force, apart=self.weight_bytes() > PROTO_LIMIT)

    def clone(self) -> Model:
        """An independent copy that shares the weights' arrays, which nothing ever writes to."""
        header = onnx.ModelProto()
        header.CopyFrom(self.header)
        twin = Model(clone.clone_graph(self.graph), header, self.path)
        twin.version = self.version
        return twin

    def _assemble(self, graph: onnx.GraphProto) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.header)
        proto.graph.CopyFrom(graph)
        return proto
