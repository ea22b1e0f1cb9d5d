"""Converts a function of JAX to an ONNX graph.

JAX traces the function for a batch of any size. This module visits the traced
operations. It computes operations on known values, such as weights, immediately, so the
graph has no operation on constants. `rules` has the rules for the other operations.

If a function has a variant for each platform, the graph gets the variant whose
operations ONNX has: plain transposed and grouped convolutions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from onnx import TensorProto, helper

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.export.onnx import known
from styleprompter_jax.export.onnx.graph import OPSET, Graph, Tensor, Value, refuse
from styleprompter_jax.export.onnx.rules import RULES
from styleprompter_jax.version import __version__

_PREFERRED = "tpu", "cuda"  # platforms by preference, before the default variant
_LARGEST = 2**31 - 2**20  # bytes of a file; protobuf allows at most 2 GiB
_IR_VERSION = 9  # the version of ONNX 1.14, which has the operators of OPSET
_BODIES = "jaxpr", "call_jaxpr"  # parameters of operations that call a function
_PASSED = "optimization_barrier", "stop_gradient", "copy", "copy_p"


def to_onnx(
    function: Callable,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
    *,
    half: bool = False,
    description: str = "",
) -> bytes:
    """Returns a graph as the content of a file.

    Args:
        function: takes arrays in the order of `inputs`, and returns a tuple of arrays.
        inputs: shape and dtype by name; the size of the batch is a symbol.
        outputs: names of the results.
        half: store weights in float16; the graph computes in float32.
        description: a text for people; the file contains it.

    Raises:
        StylePrompterError: if an operation has no rule, or the file would be too large.
    """
    traced = jax.jit(function).trace(*inputs.values())
    graph = Graph(half)
    tensors = [
        graph.made(name, spec.shape, range(len(spec.shape)))
        for name, spec in inputs.items()
    ]
    made = _walk(graph, traced.jaxpr.jaxpr, traced.jaxpr.consts, tensors)
    for name, value in zip(outputs, made, strict=True):
        axes = range(len(value.shape))
        whole = graph.laid_out(value, axes, axes)
        graph.nodes.append(helper.make_node("Identity", [whole], [name]))
    graph.prune(outputs)
    results = {
        name: aval for name, aval in zip(outputs, traced.jaxpr.out_avals, strict=True)
    }
    body = helper.make_graph(
        graph.nodes,
        "styleprompter",
        [_info(name, spec) for name, spec in inputs.items()],
        [_info(name, aval) for name, aval in results.items()],
        graph.constants,
        doc_string=description,
    )
    model = helper.make_model(
        body,
        producer_name="styleprompter_jax",
        producer_version=__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    if model.ByteSize() > _LARGEST:
        raise StylePrompterError(
            "A graph of this model has more than 2 GiB, the largest ONNX file: export "
            "it with --half, or with --format jax."
        )
    return model.SerializeToString(deterministic=True)


_TYPES = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


def _info(name: str, spec: Any) -> Any:
    sizes = ["batch" if not k else int(size) for k, size in enumerate(spec.shape)]
    return helper.make_tensor_value_info(name, _TYPES[str(spec.dtype)], sizes)


def _walk(
    graph: Graph, jaxpr: Any, consts: Sequence, inputs: Sequence[Value]
) -> list[Value]:
    """Adds the operations of a traced function to the graph; returns its results."""
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        return np.asarray(atom.val) if hasattr(atom, "val") else values[atom]

    values.update(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        results = _apply(graph, eqn, [read(atom) for atom in eqn.invars])
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(graph: Graph, eqn: Any, inputs: list[Any]) -> Sequence[Value]:
    name, params = eqn.primitive.name, eqn.params
    if name in _PASSED:
        return inputs
    if name == "platform_index":
        return [np.asarray(_form(params["platforms"]))]
    if name == "cond" and isinstance(inputs[0], np.ndarray):
        branch = params["branches"][int(inputs[0])]
        return _walk(graph, branch.jaxpr, branch.consts, inputs[1:])
    for key in _BODIES:
        if key in params:
            body = params[key]
            consts = getattr(body, "consts", ())
            return _walk(graph, getattr(body, "jaxpr", body), consts, inputs)
    if not any(isinstance(value, Tensor) for value in inputs):
        return known.computed(eqn, inputs)
    if name not in RULES:
        refuse(eqn)
    result = RULES[name](graph, eqn, *inputs)
    return result if isinstance(result, list) else [result]


def _form(platforms: Sequence) -> int:
    """Returns the index of the variant to use among the variants for platforms."""
    for wanted in _PREFERRED:
        for k, names in enumerate(platforms):
            if names is not None and wanted in names:
                return k
    return len(platforms) - 1
