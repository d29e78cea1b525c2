"""MACs of exported nets, compared with torch's own counter, which counts on the module, not the graph."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.nets import build, get, module, names
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _counted_kernels():
    """Switch off fused kernels, which the counter does not know."""
    threads, fast = torch.get_num_threads(), torch.backends.mha.get_fastpath_enabled()
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    fused = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch._C._set_mkldnn_enabled(fused)
    torch.backends.mha.set_fastpath_enabled(fast)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", names())
def test_macs_equal_those_of_torch(name):
    feeds = get(name).feeds(1)
    cost = Cost.of(Model.from_proto(build(name)), {key: array.shape for key, array in feeds.items()})
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(name)(*[torch.from_numpy(array) for array in feeds.values()])
    assert 2 * cost.macs == counter.get_total_flops()
    assert not cost.unknown
