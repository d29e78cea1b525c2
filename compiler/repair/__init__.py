"""Repair in closed form: least squares against the original's activations corrects what a lossy pass broke.

`refit` takes the layers that differ from the original's, front to back. One layer goes
through it as follows, with the files on the right::

    model, original                what differs, and what least squares can solve         changes, refittable_layers
        v
    FitStep: LinearLayer, Aim      a layer and the value it must reach, or a Refusal      plan, layers, targets
        |   X from Prefix          its inputs in the model, repaired so far               present_activations
        |   Y from Reference       the original's values at sampled positions             original_activations
        v
    Equations  Σ xᵀx, Σ xᵀy, Σ y²  once for rows to fit on, once for rows to check on     solve/equations
        |   Rectified              and the rows themselves if a Relu or Clip follows      behind_activation
        v
    Task                           the present weights, and which of them may change      fit
        |                          without a codebook 'solve', with one 'share'           fit, codebook_layer
        v
    Solver                         Equations with a ridge, for any right-hand side        solve/equations
        |   OnSupport              for weights with zeros, which stay zero                solve/support
        |
        |   with a codebook:
        |   Quadratic              the error as a function of the weights                 solve/quadratic
        |   Shared or Vectors      the values, and which weight takes which, in turns     solve/codebook, solve/vectors
        v
    Solution                       new weights if they are better, or why they are not    fit
        |   LinearLayer.store      so that the next layer reads the repaired model        layers
        v
    Fitted, in a RefitReport                                                              refitting

Besides: a layer and the one before it are fitted together where only a Relu or Clip stands between them (`Pair` in
layer_pair), BatchNormalization gets new statistics (statistics), and criteria for pruning and sparsifying use the sums
alone (moments, output_importance).
"""

from onnx_compress.compiler.repair.effort import COARSE, FULL, Effort
from onnx_compress.compiler.repair.original_activations import Reference
from onnx_compress.compiler.repair.refitting import Fitted, RefitReport, Sharing, refit
from onnx_compress.compiler.repair.samples import refit_data, sample_count

__all__ = [
    "COARSE",
    "FULL",
    "Effort",
    "Fitted",
    "Reference",
    "RefitReport",
    "Sharing",
    "refit",
    "refit_data",
    "sample_count",
]
