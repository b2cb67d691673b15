"""The versions of operators that an ONNX model imports: old runtimes refuse newer ones, whatever the nodes need."""

from __future__ import annotations

from typing import Any

from proxyless.export.onnx_graph import nodes

OPSET = 17
"""The version of ONNX's operators that modules are exported in."""


def with_lowest_versions(model: Any) -> None:
    """Change ``model`` so that it imports no more, and nothing newer, than its nodes need.

    It then imports the operator domains of its nodes alone, each in the lowest version in which these nodes are the
    same operators as now, and has the lowest IR version that allows these. Older runtimes refuse a model by what it
    imports, whether it uses that or not.
    """
    import onnx

    known = {_domain(item.domain): item.version for item in model.opset_import}
    used: dict[str, int] = {}
    for node in nodes(model):
        domain = _domain(node.domain)
        version = known.get(domain, 1)
        if onnx.defs.has(node.op_type, version, domain):
            version = onnx.defs.get_schema(node.op_type, version, domain).since_version
        used[domain] = max(used.get(domain, 1), version)
    del model.opset_import[:]
    # A model without any node imports ONNX's own operators all the same: the checker wants one domain at the least.
    model.opset_import.extend(onnx.helper.make_opsetid(name, used[name]) for name in sorted(used or {"": 1}))
    ours = [item for item in model.opset_import if not item.domain]
    # Version 4 is the first in which weights need not be inputs; 8 the first with functions of a model's own.
    least = 8 if model.functions else 4
    model.ir_version = max(least, onnx.helper.find_min_ir_version_for(ours) if ours else least)


def with_version(model: Any, version: int) -> None:
    """Let ``model`` import a later version of ONNX's own operators, unless that changes the meaning of a node.

    It undoes :func:`with_lowest_versions`.
    """
    import onnx

    ours = [item for item in model.opset_import if not _domain(item.domain)]
    for item in ours:
        if item.version < version and all(
            onnx.defs.get_schema(node.op_type, item.version).since_version
            == onnx.defs.get_schema(node.op_type, version).since_version
            for node in nodes(model)
            if not _domain(node.domain)
        ):
            item.version = version
            model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for([item]))


def _domain(name: str) -> str:
    """ONNX's own domain, which has two spellings, is the empty text here."""
    return "" if name == "ai.onnx" else name
