"""A model as passes see it: a graph, its opsets, and everything else in its file."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

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
from onnx_compress.compiler.ir.graph import Constant, Graph, Node, Tensor, Variable
from onnx_compress.compiler.ir.plain import plain_graph
from onnx_compress.compiler.storage.container.wire import MESSAGE_LIMIT

PROTO_LIMIT = MESSAGE_LIMIT - (1 << 26)
"""Maximum bytes of weights for a model in one message; the remainder is room for the graph."""
PLACEHOLDER_LIMIT = 1024
LEAST_IR_OF_DEFAULTS = 4
"""Before this IR version every initializer is listed as an input, and callers can't set it."""

logging.getLogger("onnx_ir").setLevel(logging.ERROR)

T = TypeVar("T")


class State:
    """The identity of what a model is between two edits; results are remembered under it as long as it lives."""


class Model:
    """A loaded model.

    `graph` is the main graph, `header` the ModelProto without graph and functions (versions, producer,
    opsets, metadata). `version` counts the edits: an equal number means that nothing changed in between.
    """

    def __init__(self, graph: Graph, header: onnx.ModelProto, path: Path | None = None) -> None:
        self.graph = graph
        self.header = header
        self.path = path
        self.version = 0
        self.taken: set[str] | None = None
        """Names in use or used before, maintained by `names.fresh_name`; None until the first new name."""
        self._disk_bytes: int | None = None
        self._graphs: tuple[Graph, list[Graph]] | None = None
        self._state: tuple[int, State] = (0, State())

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model file, packed or not; its weights are read on demand. Raises ModelError with one clear line."""
        path = Path(path)
        try:
            if ocz_file.is_packed(path):
                with ocz_file.opened(path) as (proto, folder):
                    model = cls.from_proto(proto, folder, path)
                model._disk_bytes = path.stat().st_size
                return model
            data = DataFolder(path.parent)
            model = cls._of(_read(path), data, path)
            model._disk_bytes = path.stat().st_size + data.size
            return model
        except ModelError as error:
            # A name in the file may hold line breaks.
            raise ModelError(f"{path}: {' '.join(str(error).split())}") from None

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto, folder: Path | None = None, path: Path | None = None) -> Model:
        """The model of a ModelProto, which must not be changed afterwards; `folder` contains its external data."""
        return cls._of(proto, DataFolder(folder), path)

    @classmethod
    def _of(cls, proto: onnx.ModelProto, data: DataFolder, path: Path | None) -> Model:
        if not proto.graph.node and not proto.graph.output:
            raise ModelError("the model is empty: it has neither nodes nor outputs")
        if not proto.opset_import:
            raise ModelError("the model declares no opset: the file is damaged, or not an ONNX model")
        proto = inlined(proto)
        check_text(*(opset.domain for opset in proto.opset_import))
        try:
            return cls(import_graph(proto.graph, data), _header(proto), path)
        except UnicodeDecodeError:
            raise ModelError("a name in it is not UTF-8: the file is damaged") from None

    @property
    def opset(self) -> int:
        """Version of ONNX's own operator set; 0 if the model imports only other domains."""
        return int(max((o.version for o in self.header.opset_import if o.domain in ("", "ai.onnx")), default=0))

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata_props (class names, alphabets, how to prepare inputs)."""
        return {entry.key: entry.value for entry in self.header.metadata_props}

    def nodes(self) -> Iterator[Node]:
        """Every node, including those in bodies of If, Loop and Scan; the graph may be edited while iterating."""
        return self.graph.walk()

    def graphs(self) -> list[Graph]:
        """The graph and every body in it; cached, because edits need them at every step."""
        if self._graphs is None or self._graphs[0] is not self.graph:
            self._graphs = (self.graph, list(self.graph.graphs()))
        return self._graphs[1]

    def forget_graphs(self) -> None:
        """Drop the cached list of graphs, after a body was added or removed."""
        self._graphs = None

    def constants(self) -> Iterator[Constant]:
        """Every initializer, including those in bodies, in file order."""
        for graph in self.graphs():
            yield from tuple(graph.initializers)

    def inputs(self) -> list[Variable]:
        """The inputs that a caller must provide: those without an initializer as default."""
        return [tensor for tensor in self.graph.inputs if isinstance(tensor, Variable)]

    def outputs(self) -> list[Tensor]:
        """The outputs, in order."""
        return list(self.graph.outputs)

    def weight_bytes(self) -> int:
        """Bytes of all initializers and tensor attributes as plain tensors."""
        return int(sum(c.nbytes for c in self.constants())) + self._attribute_bytes()

    def stored_bytes(self) -> int:
        """Bytes of all initializers and tensor attributes in their stored forms, without decoding nodes."""
        written = (c for graph in self.graphs() for c in lowered(graph).constants)
        return int(sum(c.nbytes for c in written)) + self._attribute_bytes()

    def _attribute_bytes(self) -> int:
        attributes = (v for node in self.nodes() for v in node.attrs.values() if isinstance(v, Constant))
        return int(sum(constant.nbytes for constant in attributes))

    @property
    def disk_bytes(self) -> int | None:
        """Bytes of the files that the model was loaded from, packed or not; None once edited, or without a file."""
        return self._disk_bytes if self.version == 0 else None

    def file_bytes(self) -> int:
        """Bytes that `save` would write, all files together, without writing them."""
        weights = self.stored_bytes()
        return int(self.skeleton(0).ByteSize() + weights if weights > PROTO_LIMIT else self.proto().ByteSize())

    def packed_bytes(self) -> int:
        """Bytes that `save` would write to a packed file, found by packing it."""
        return ocz_file.size(self.plain().save)

    def proto(self) -> onnx.ModelProto:
        """The model as one message with all its weights. Raises ModelError above 2 GiB."""
        if self.stored_bytes() > PROTO_LIMIT:
            raise ModelError("the weights exceed 2 GiB and do not fit one message: save the model to a file instead")
        return self._export(embedded)

    def skeleton(self, limit: int = PLACEHOLDER_LIMIT, *, is_dense: bool = False) -> onnx.ModelProto:
        """The model without the data of weights above `limit` bytes, for shape inference and similar tools.

        With `is_dense` it has no decoding nodes: weights stored in other forms appear as plain initializers.
        """
        return self._export(lambda constant: placeholder(constant, limit), is_dense=is_dense)

    def save(self, path: str | Path, *, force: bool = False) -> int:
        """Write the model to `path`, atomically, and return the bytes written, all files together.

        Above 2 GiB the weights are written to `path` + `.data`. A name ending in `.ocz` gives a packed file, in which
        the weights are plain tensors. Raises OutputError if the file exists (unless `force`) or can't be written.
        """
        if Path(path).suffix.lower() == ocz_file.SUFFIX:
            return ocz_file.save(self.plain().save, Path(path), force=force).total
        return save.write(self.graph, self._export, Path(path), force=force, apart=self.stored_bytes() > PROTO_LIMIT)

    @property
    def state(self) -> State:
        """Stands for what the model is now: the same object for its copies, another one after an edit."""
        if self._state[0] != self.version:
            self._state = (self.version, State())
        return self._state[1]

    def clone(self) -> Model:
        """An independent copy that shares the weights' arrays, which are never changed in place."""
        return self.twin().model

    def twin(self) -> Twin:
        """The same copy, with the map from this model's nodes and tensors to the copy's."""
        header = onnx.ModelProto()
        header.CopyFrom(self.header)
        tensors: dict[Tensor, Tensor] = {}
        copied = Model(clone.clone_graph(self.graph, tensors), header, self.path)
        copied.version, copied._state = self.version, (self.version, self.state)
        return Twin(self, copied, tensors)

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
        except UnicodeDecodeError:  # a doc_string, which loading does not check
            raise ModelError("a text in the model is not UTF-8: the file is damaged") from None
        if proto.ir_version < LEAST_IR_OF_DEFAULTS:
            listed = {info.name for info in proto.graph.input}
            written = self.graph.initializers if is_dense else lowered(self.graph).constants
            proto.graph.input.extend(export_info(c) for c in written if c.name not in listed)
        return proto


@dataclass(frozen=True, eq=False)
class Twin:
    """`model` is an independent copy of `source`; `tensors` maps each tensor of the source to the copy's.

    The source must not change while things are translated.
    """

    source: Model
    model: Model
    tensors: Mapping[Tensor, Tensor]

    @cached_property
    def nodes(self) -> Mapping[Node, Node]:
        """The copy's node for each node of the source, those of bodies included."""
        return dict(zip(self.source.nodes(), self.model.nodes(), strict=True))

    def of(self, thing: T) -> T:
        """The same thing said of the copy: a node, a tensor, or whatever is made of them.

        A plan, a layer, a group: frozen data in which every node, tensor and graph of the source is replaced by the
        copy's, and everything else is copied.
        """
        return copy.deepcopy(thing, dict(self._known))

    @cached_property
    def _known(self) -> Mapping[int, Any]:
        """What `deepcopy` finds instead of copying, by the identity of the source's object."""
        graphs: dict[Graph, Graph] = dict(zip(self.source.graphs(), self.model.graphs(), strict=True))
        pairs = (*self.nodes.items(), *self.tensors.items(), *graphs.items(), (self.source, self.model))
        return {id(old): new for old, new in pairs}


def _read(path: Path) -> onnx.ModelProto:
    # onnx.load would guess the format from the name, and read a device until memory runs out.
    try:
        if path.is_dir():
            raise ModelError("a folder, not an ONNX model")
        if path.exists() and not path.is_file():
            raise ModelError("not a regular file")
        if path.stat().st_size > MESSAGE_LIMIT:
            raise ModelError("the file exceeds 2 GiB, the limit of an ONNX file: store its weights as external data")
        proto = onnx.ModelProto()
        proto.ParseFromString(path.read_bytes())
        return proto
    except FileNotFoundError:
        raise ModelError("there is no such file") from None
    except PermissionError:
        raise ModelError("no permission to read the file") from None
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}") from None
    except (DecodeError, ValueError):
        raise ModelError("not an ONNX model, or the file is truncated") from None


def _header(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The message without graph and functions."""
    header = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name in ("graph", "functions"):
            continue
        if isinstance(value, (int, str, bytes)):  # bytes: text that is not UTF-8, which setattr rejects
            setattr(header, field.name, value)
        else:
            getattr(header, field.name).extend(value)
    return header
