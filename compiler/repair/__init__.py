"""Repair in closed form: least squares against the original's activations corrects what a lossy pass broke.

`refit` takes the layers that differ from the original's, front to back. One layer goes through it like this::

    model, original                                what differs, and which layers least squares can solve for
        |                                          (changes, refittable_layers)
        v
    FitStep: LinearLayer, Aim                      the layer and the original's value to reach, or a Refusal
        |                                          (plan, layers, targets)
        |   X: inputs in the model so far          Prefix                            (present_activations)
        |   Y: the original's values               Reference                        (original_activations)
        v
    Equations: Σ xᵀx, Σ xᵀy, Σ y²                  rows to fit on and rows to check on   (solve/equations)
        |                                          Rectified keeps the rows where a Relu or Clip follows
        |                                                                              (behind_activation)
        v
    Task: weights, shift, what may change                                                            (fit)
        |
        |   a Solver per ridge: Equations without their right-hand side                  (solve/equations)
        |
        +-- no codebook: solve                     zeros stay zero          (fit, solve/support)
        |
        +-- codebook: share                                                               (codebook_layer)
        |       Quadratic                          the error as a function of the weights (solve/quadratic)
        |       Shared or Vectors                  places in codebooks; the values and the places are
        |                                          improved in turns       (solve/codebook, solve/vectors)
        v
    Solution: weights, shift, errors               or the reason why the layer stays unchanged       (fit)
        |
        |   LinearLayer.store                      the next layer's inputs come from the repaired model
        v
    Fitted, in the RefitReport                                                                 (refitting)

Besides: a layer and the one before it are fitted together where only a Relu or Clip stands between them (`Pair` in
layer_pair), BatchNormalization gets new statistics (statistics), and criteria for pruning and sparsifying use the sums
alone (moments, output_importance).
"""

from onnx_compress.compiler.repair.effort import COARSE, FULL, Effort
from onnx_compress.compiler.repair.original_activations import Reference
from onnx_compress.compiler.repair.refitting import Fitted, RefitReport, Sharing, refit
from onnx_compress.compiler.repair.samples import sample_count

__all__ = ["COARSE", "FULL", "Effort", "Fitted", "Reference", "RefitReport", "Sharing", "refit", "sample_count"]
