"""ONNX files: written by tf2onnx, which does not know all that TensorFlow writes, and run."""

import logging as std_logging

import numpy as np

OPSET = 17


def write_onnx(exported, path):
    """ONNX: images [B, S, S, 3] -> the outputs."""
    import onnx
    import tf2onnx

    function = exported.function()
    std_logging.getLogger("tf2onnx").setLevel(std_logging.ERROR)
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_convert_erfc, [])},
    )
    _fill_in_constants(model, function.get_concrete_function())
    names = exported.names
    outputs = sorted(model.graph.output, key=lambda output: names.index(output.name))
    del model.graph.output[:]  # sorted by their names so far
    model.graph.output.extend(outputs)
    onnx.save(model, str(path))


def _fill_in_constants(model, concrete):
    """Gives an ONNX model the tensors of the graph's outside, which it takes for inputs."""
    import onnx

    constants = {inner.name: outer for outer, inner in concrete.graph.captures}
    inputs = list(model.graph.input)
    del model.graph.input[:]
    for each in inputs:
        if each.name in constants:
            value = onnx.numpy_helper.from_array(constants[each.name].numpy(), each.name)
            model.graph.initializer.append(value)
        else:
            model.graph.input.append(each)


def _convert_erfc(graph, node, name, arguments):
    """TensorFlow's gelu has erfc(x), which ONNX does not know: 1 - erf(x)."""
    dtype = graph.get_dtype(node.output[0])
    shape = graph.get_shape(node.output[0])
    erf = graph.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
    one = graph.make_const(f"{name}/one", np.array(1, np.float32))
    graph.remove_node(node.name)
    inputs = [one.output[0], erf.output[0]]
    graph.make_node("Sub", inputs, outputs=node.output, dtypes=[dtype], shapes=[shape], name=name)


def run_onnx(path, images: np.ndarray) -> list[np.ndarray]:
    """The outputs of an ONNX file for images float32 [B, S, S, 3]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    return session.run(None, {input_name: images})
