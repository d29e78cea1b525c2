"""A model as passes see it: a graph, its opsets, and everything else its file says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx_compress.compiler.errors import ModelError
from onnx_compress.compiler.ir import clone
from onnx_compress.compiler.ir.files import ocz_file, save
from onnx_compress.compiler.ir.files.exporter import Store, embedded, export_graph, export_info, placeholder
from onnx_compress.compiler.ir.files.external import DataFolder
from onnx_compress.compiler.ir.files.importer import check_text, import_graph
from onnx_compress.compiler.ir.files.inline import inlined
from onnx_compress.compiler.ir.files.lower import lowered
from onnx_compress.compiler.ir.files.stream import MESSAGE_LIMIT
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.plain import plain_graph

PROTO_LIMIT = MESSAGE_LIMIT - (1 << 26)
"""Bytes of weights up to which a model is one message: the rest is for the graph."""
PLACEHOLDER_LIMIT = 1024
LEAST_IR_OF_DEFAULTS = 4
"""Before this IR version every initializer is listed as an input, and no caller can give it."""

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
        """Names in use or used before, kept by `names.fresh_name`; None until the first new name."""
        self._graphs: tuple[Graph, list[Graph]] | None = None

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model file, packed or not; weights stay in it until needed. Raises ModelError with one clear line."""
        path = Path(path)
        try:
            if ocz_file.is_packed(path):
                with ocz_file.opened(path) as (proto, folder):
                    return cls.from_proto(proto, folder, path)
            return cls.from_proto(_read(path), path.parent, path)
        except ModelError as error:
            # A name in the file may hold line breaks.
            raise ModelError(f"{path}: {' '.join(str(error).split())}") from None

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto, folder: Path | None = None, path: Path | None = None) -> Model:
        """Take a ModelProto, which must not be changed afterwards; `folder` is where its external data lies."""
        if not proto.graph.node and not proto.graph.output:
            raise ModelError("the model is empty: it has no node and no output")
        if not proto.opset_import:
            raise ModelError("the model declares no opset: the file is damaged or no ONNX model")
        proto = inlined(proto)
        check_text(*(opset.domain for opset in proto.opset_import))
        try:
            return cls(import_graph(proto.graph, DataFolder(folder)), _header(proto), path)
        except UnicodeDecodeError:
            raise ModelError("a name in it is no UTF-8 text: the file is damaged") from None

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators that the model uses; 0 when it imports only other domains."""
        return int(max((o.version for o in self.header.opset_import if o.domain in ("", "ai.onnx")), default=0))

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata_props (class names, alphabets, how to prepare inputs)."""
        return {entry.key: entry.value for entry in self.header.metadata_props}

    def nodes(self) -> Iterator[Node]:
        """Every node, those in bodies of If, Loop and Scan included; safe against edits while iterating."""
        return self.graph.walk()

    def graphs(self) -> list[Graph]:
        """The graph and every body in it; found once, because edits ask for them at every step."""
        if self._graphs is None or self._graphs[0] is not self.graph:
            self._graphs = (self.graph, list(self.graph.graphs()))
        return self._graphs[1]

    def forget_graphs(self) -> None:
        """Note that a body came or went."""
        self._graphs = None

    def constants(self) -> Iterator[Constant]:
        """Every initializer, those of bodies included, in the order of the file."""
        for graph in self.graphs():
            yield from tuple(graph.initializers)

    def inputs(self) -> list[Variable]:
        """The inputs that a caller must give: those without an initializer as default."""
        return [tensor for tensor in self.graph.inputs if isinstance(tensor, Variable)]

    def outputs(self) -> list[Tensor]:
        """The outputs, in order."""
        return list(self.graph.outputs)

    def weight_bytes(self) -> int:
        """Bytes of all initializers and tensor attributes as plain tensors, as they are in memory."""
        return int(sum(c.nbytes for c in self.constants())) + self._attribute_bytes()

    def stored_bytes(self) -> int:
        """Bytes of the same in the forms in which they are stored, without the nodes that decode them."""
        written = (c for graph in self.graphs() for c in lowered(graph).constants)
        return int(sum(c.nbytes for c in written)) + self._attribute_bytes()

    def _attribute_bytes(self) -> int:
        attributes = (v for node in self.nodes() for v in node.attrs.values() if isinstance(v, Constant))
        return int(sum(constant.nbytes for constant in attributes))

    def file_bytes(self) -> int:
        """Bytes that `save` would write, all files together, without writing them."""
        weights = self.stored_bytes()
        return int(self.skeleton(0).ByteSize() + weights if weights > PROTO_LIMIT else self.proto().ByteSize())

    def packed_bytes(self) -> int:
        """Bytes that `save` would write to a packed file, found by packing it."""
        return ocz_file.size(self.plain().save)

    def proto(self) -> onnx.ModelProto:
        """The model as one message with all weights in it. Raises ModelError above 2 GiB: save it instead."""
        if self.stored_bytes() > PROTO_LIMIT:
            raise ModelError("the weights exceed 2 GiB and do not fit one message: save the model to a file instead")
        return self._export(embedded)

    def skeleton(self, limit: int = PLACEHOLDER_LIMIT, *, is_dense: bool = False) -> onnx.ModelProto:
        """The model with weights above `limit` bytes left out, for shape inference and the like.

        With `is_dense` it has the nodes of the graph and no others: weights stored in other forms stand as plain ones.
        """
        return self._export(lambda constant: placeholder(constant, limit), is_dense=is_dense)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the model to `path`, atomically; above 2 GiB the weights go into `path` + `.data`.

        A name that ends in `.ocz` gets a packed file, in which the weights are plain tensors. Raises OutputError when
        a file is there already (unless `force`) or can't be written.
        """
        if Path(path).suffix.lower() == ocz_file.SUFFIX:
            ocz_file.save(self.plain().save, Path(path), force=force)
            return
        save.write(self.graph, self._export, Path(path), force=force, apart=self.stored_bytes() > PROTO_LIMIT)

    def clone(self) -> Model:
        """An independent copy that shares the weights' arrays, which nothing ever writes to."""
        header = onnx.ModelProto()
        header.CopyFrom(self.header)
        twin = Model(clone.clone_graph(self.graph), header, self.path)
        twin.version = self.version
        return twin

    def plain(self) -> Model:
        """A copy whose weights are plain initializers, except for those cut into vectors with codebooks."""
        header = onnx.ModelProto()
        header.CopyFrom(self.header)
        return Model(plain_graph(self.graph), header, self.path)

    def _export(self, store: Store, *, is_dense: bool = False) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.header)
        try:
            export_graph(self.graph, store, proto.graph, is_dense=is_dense)
        except UnicodeDecodeError:  # a doc_string, at which nobody looked before
            raise ModelError("a text in the model is no UTF-8: the file is damaged") from None
        if proto.ir_version < LEAST_IR_OF_DEFAULTS:
            listed = {info.name for info in proto.graph.input}
            written = self.graph.initializers if is_dense else lowered(self.graph).constants
            proto.graph.input.extend(export_info(c) for c in written if c.name not in listed)
        return proto


def _read(path: Path) -> onnx.ModelProto:
    # onnx.load would guess the format from the name and read a device until memory ends.
    try:
        if path.is_dir():
            raise ModelError("it is a folder, not an ONNX model")
        if path.exists() and not path.is_file():
            raise ModelError("it is no regular file")
        if path.stat().st_size > MESSAGE_LIMIT:
            raise ModelError("the file exceeds 2 GiB, which no ONNX file can: its weights must be external data")
        proto = onnx.ModelProto()
        proto.ParseFromString(path.read_bytes())
        return proto
    except FileNotFoundError:
        raise ModelError("there is no such file") from None
    except PermissionError:
        raise ModelError("no permission to read it") from None
    except OSError as error:
        raise ModelError(f"it can't be read: {error.strerror}") from None
    except (DecodeError, ValueError):
        raise ModelError("it is no ONNX model, or it is truncated") from None


def _header(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Everything but the graph and the functions."""
    header = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name in ("graph", "functions"):
            continue
        if isinstance(value, (int, str, bytes)):  # bytes: text that is no UTF-8, which setattr refuses
            setattr(header, field.name, value)
        else:
            getattr(header, field.name).extend(value)
    return header
