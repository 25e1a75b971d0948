"""Networks of the user's own as chains: what `forward` does is recorded, and cut where a single tensor goes on.

J. Reed et al., torch.fx: Practical Program Capture and Transformation for Deep Learning in Python (2022). Recorded are
the calls of modules and what is done between them; an nn.Sequential is seen as the modules in it, any other module
as a whole.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from itertools import pairwise

import torch
from torch import fx, nn

from raymaas.errors import InvalidInput
from raymaas.models.chain import Link, uncut


def traced(network: nn.Module) -> tuple[Link, ...]:
    """Links that together do what `network` does: one for each module with weights into which goes all there is so far.

    Raises InvalidInput, saying why, for a network that does not do the same each time, or takes or makes tensors
    besides its rows; and for one with buffers such as those of batch norms, which the pieces of a batch would change
    otherwise than the whole. The links raise it for one that writes over its rows, once it does.
    """
    for name, _ in network.named_buffers():
        raise _refused(network, f"it keeps {name!r}, which is no parameter")
    rows, *nodes, output = _recorded(network)
    (given,) = output.args
    if not isinstance(given, fx.Node):
        raise _refused(network, "its forward gives more than a tensor")
    steps = []
    for node in nodes:
        if node.op == "placeholder":
            raise _refused(network, f"its forward takes {node.name!r} besides the rows")
        if node.op != "get_attr":
            steps.append(node)
    places = [0, *_cuts(network, steps), len(steps)]
    between = [rows, *(steps[place].all_input_nodes[0] for place in places[1:-1]), given]
    return tuple(
        _link(network, steps[start:stop], rows, takes=before, gives=after)
        for (start, stop), (before, after) in zip(pairwise(places), pairwise(between), strict=True)
    )


class _Value(fx.Proxy):
    """A stand-in that is written over where `forward` does so; of `h += x` fx would make a new one."""

    def _over(self, operation: Callable[..., object], other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    __iadd__ = partialmethod(_over, operator.iadd)
    __isub__ = partialmethod(_over, operator.isub)
    __imul__ = partialmethod(_over, operator.imul)
    __itruediv__ = partialmethod(_over, operator.itruediv)
    __ipow__ = partialmethod(_over, operator.ipow)


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        if not torch.is_grad_enabled():
            raise ValueError("no_grad() in it is not seen, but detach() is")
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).forward is not nn.Sequential.forward


def _recorded(network: nn.Module) -> list[fx.Node]:
    """All that `forward` does, in order, the same in training and in serving."""
    before, graphs = network.training, []
    try:
        with torch.enable_grad():
            for training in (True, False):
                graphs.append(_Tracer().trace(network.train(training)))
    except Exception as error:  # whatever the user's code raises when given a stand-in for a tensor
        raise _refused(network, f"its forward cannot be recorded ({str(error).partition('.')[0]})") from error
    finally:
        network.train(before)
    if not all(_weights(network, node) for node in graphs[0].nodes if node.op == "get_attr"):
        raise _refused(network, "its forward makes a tensor that does not depend on the rows")
    if str(graphs[0]) != str(graphs[1]):
        raise _refused(network, "its forward looks at self.training, which is for modules such as nn.Dropout")
    return list(graphs[0].nodes)


def _cuts(network: nn.Module, steps: Sequence[fx.Node]) -> Iterator[int]:
    """Before which steps there is a single value that is still needed, and a module with weights to take it."""
    for place, step in enumerate(steps):
        if step.op == "call_module" and _weights(network, step):
            done = set(steps[:place])
            needed = [node for node in steps[:place] if not done.issuperset(node.users)]
            if step.all_input_nodes == needed:
                yield place


def _link(
    network: nn.Module, steps: Sequence[fx.Node], rows: fx.Node, *, takes: fx.Node, gives: fx.Node
) -> Link:
    graph, weights = fx.Graph(), []
    known = {rows: graph.placeholder("x_B"), takes: graph.placeholder("given_B")}
    for step in steps:
        for node in (*step.all_input_nodes, step):
            if node not in known:
                known[node] = graph.node_copy(node, known.__getitem__)
                weights += _weights(network, node)
    graph.output(known[gives])
    run = fx.GraphModule(network, graph)

    def link(given_B: torch.Tensor, x_B: torch.Tensor) -> torch.Tensor:
        untouched = x_B._version
        gives_B: torch.Tensor = run(x_B, given_B)
        if x_B._version != untouched:
            why = "its forward writes over its rows, which both halves need; let it make new ones, x / 2 for x.div_(2)"
            raise _refused(network, why)
        return gives_B

    return Link(link, *weights, sees_rows=True)


def _weights(network: nn.Module, node: fx.Node) -> list[nn.Parameter]:
    """Those of the module that is called there, or the one that is read."""
    if node.op not in ("call_module", "get_attr"):
        return []
    part = operator.attrgetter(str(node.target))(network)
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else []


def _refused(network: nn.Module, why: str) -> InvalidInput:
    return uncut(type(network).__name__, why)
