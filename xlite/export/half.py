"""Half the size: weights stored in float16, computed with in float32."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALLEST = 16  # numbers; normalisation, calibration and other constants stay as they are
_LARGEST = float(np.finfo(np.float16).max)


def half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with each matrix and kernel stored as float16 and cast back when the file is loaded.

    ONNX Runtime computes in float32 on x86 in any case, with casts around every node if the graph itself is float16,
    which takes longer and rounds every activation. Here only weights are rounded, and nothing can overflow.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    casts = []
    for tensor in out.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < _SMALLEST:
            continue
        if np.abs(values).max() > _LARGEST:
            continue  # would be infinite
        name, stored = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *out.graph.node]
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out
