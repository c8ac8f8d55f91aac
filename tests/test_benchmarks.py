"""What benchmarks compute by themselves."""

import pytest

from benchmarks import profile


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/conv/Conv2D:_MklNativeConv2D", "convolution"),
        ("a/conv/Conv2D:_FusedConv2D", "convolution"),
        ("b/Conv2DBackpropInput:_MklNativeConv2DBackpropInput", profile.GRADIENT_OF_INPUT),
        ("b/Conv2DBackpropFilter:Conv2DBackpropFilter", profile.GRADIENT_OF_KERNEL),
        ("a/norm/FusedBatchNormV3:_MklNativeFusedBatchNormV3", "batch norm"),
        ("b/FusedBatchNormGradV3:FusedBatchNormGradV3", "batch norm, gradient"),
        ("b/MatMul:_MklMatMul", "matrix products"),
        ("optimizer/mul:Mul", "optimizer"),
        ("optimizer_1/AddV2:AddV2", "optimizer"),
        ("global_norm/L2Loss:L2Loss", profile.REST),
        ("ExecutorState::Process", None),
        ("EagerLocalExecute: __inference__one_step_5998", None),
        ("_one_step", None),
    ],
)
def test_kinds_of_operations(name, kind):
    assert (profile.kind_of(name) if profile.is_operation(name) else None) == kind
