"""Channel groups: which channels of a model go together, so that they can be removed together.

Each axis of each tensor is a vector of atoms; the rule of an operator unites atoms position by position.
"""

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups, Group

__all__ = ["ChannelGroups", "Group"]
