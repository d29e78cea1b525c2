"""Channel groups: the channels of a model that can only be removed together.

An axis of a tensor is a vector of *atoms*, one per position, or fixed as a whole::

    graph                    nodes in topological order, bodies at their nodes
      |
      v
    Walk                     one rule per operator: input axes -> output axes         (walk, rules/*)
      |  axes                  per tensor and axis: atoms, or Fixed(why)
      |  places                an axis of a weight, its role, and its new atoms
      |  mends                 integers in shapes, bounds and attributes that count atoms     (mends, integers)
      |  works                 the axes whose lengths multiply to a layer's MACs      (-> width_cost)
      v
    Atoms                    unite(a, b)   fix(a, why)   couple(a, why)               (atoms)
      |
      |  settle: union-find over whole vectors
      v
    Sets                     the atoms that are removed together, with their root and why they are fixed or coupled
      |
      |  equal signatures: the same places, equally often
      v
    Group                    equivalent sets, of which a pass keeps some              (groups)
      |
      |  Cut: the sets to remove
      v
    Removal                  kept indices of weights, new integers and attributes     (surgery.channel_removal)

Two convolutions, w [4, 3, 3, 3] and v [8, 4, 3, 3], with a Relu between them::

    w axis 0 (out)   a0 a1 a2 a3        y = Conv(x, w) has these atoms on axis 1, z = Relu(y) too
    v axis 1 (in)    b0 b1 b2 b3        Conv(z, v) unites a_i with b_i
    sets             {a0 b0} {a1 b1} {a2 b2} {a3 b3}        one group of 4 sets: a filter of w and a column of v each

A Reshape splits an axis into factors (`factors`), only one of which can be cut: whole heads, or the same position of
every head. `ChannelGroups.of` walks once per choice and takes the cuts that reach the most weights. An operator without
a rule fixes the axes it reads.
"""

from onnx_compress.compiler.analysis.channels.groups import ChannelGroups, Group

__all__ = ["ChannelGroups", "Group"]
