"""MACs and parameters as costs: tables like those of latency, counted and not measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from proxyless.architecture import derive
from proxyless.choice import settled
from proxyless.latency.operators import count_macs, count_parameters, example_inputs
from proxyless.latency.table import CostTable
from proxyless.supernet import Shapes, Supernet


def macs_table(supernet: Supernet, input_shape: tuple[int, ...]) -> CostTable:
    """Multiply-accumulates of one forward pass of a single input of ``input_shape`` (without the batch)."""
    return _counted(supernet, input_shape, "MACs", count_macs)


def parameters_table(supernet: Supernet, input_shape: tuple[int, ...]) -> CostTable:
    """Number of parameters; ``input_shape`` is that of one input, without the batch."""
    return _counted(supernet, input_shape, "parameters", lambda module, _: count_parameters(module))


def _counted(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    unit: str,
    count: Callable[[nn.Module, Sequence[Tensor]], int],
) -> CostTable:
    where = next(supernet.weights()).device

    def made(shapes: Shapes) -> list[Tensor]:
        return [tensor.to(where) for tensor in example_inputs(shapes)]

    inputs = made(((1, *input_shape),))
    shapes = supernet.input_shapes(*inputs)
    rows = {
        name: {
            operation: float(count(settled(choice, index), made(shapes[name])))
            for index, operation in enumerate(choice.operations)
        }
        for name, choice in supernet.choices.items()
    }
    first = [0] * len(rows)
    whole = count(derive(supernet, first), inputs)
    return CostTable(unit, whole - sum(next(iter(row.values())) for row in rows.values()), rows)
