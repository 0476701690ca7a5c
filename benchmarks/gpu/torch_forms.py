"""torch in its four forms: eager, captured by hand in a CUDA graph, and compiled whole in two modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from .ladder import Rung
from .runners import B1, B2, EPSILON, RATE, DeviceName, NotMeasuredError, Runner, pieces, predicting, stepping

_PRODUCTS = {"float32": "highest", "tf32": "high", "bf16": "highest"}  # torch's words for those of float32


class _Data(NamedTuple):
    """The training data; the batch is ``order[cursor + window]``."""

    X: Any
    y: Any
    order: Any
    window: Any
    cursor: Any


def eager(rung: Rung, device: DeviceName) -> Runner:
    if rung.kind == "inference":
        return _runner(rung, device, _prediction(rung, device)[0])
    return _runner(rung, device, _training(rung, device)[0])


def graph(rung: Rung, device: DeviceName) -> Runner:
    """The whole work as one CUDA graph; a call of it is a single launch."""
    if device != "cuda":
        raise NotMeasuredError("a CUDA graph needs a CUDA device.")
    work, restart = (_prediction if rung.kind == "inference" else _training)(rung, device)
    return _runner(rung, device, captured(work, restart))


def reduce_overhead(rung: Rung, device: DeviceName) -> Runner:
    return _compiled(rung, device, "reduce-overhead")


def max_autotune(rung: Rung, device: DeviceName) -> Runner:
    return _compiled(rung, device, "max-autotune")


def captured(work: Callable[[], Any], restart: Callable[[], None]) -> Callable[[], Any]:
    """``work`` as a CUDA graph that overwrites its result; ``restart`` undoes what warming up has changed."""
    import torch

    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    main.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    restart()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def set_products(rung: Rung) -> None:
    """float32 products in full precision, or in tf32."""
    import torch

    torch.set_float32_matmul_precision(_PRODUCTS[rung.precision])


def _runner(rung: Rung, device: DeviceName, work: Callable[[], Any]) -> Runner:
    import torch

    wait: Callable[[], Any] = torch.cuda.synchronize if device == "cuda" else lambda: None
    return (predicting if rung.kind == "inference" else stepping)(rung, work, wait)


def _parameters(rung: Rung, device: DeviceName) -> list[Any]:
    """W transposed, as torch keeps it, and b of each layer in turn."""
    import torch

    set_products(rung)
    made = [(W.T.copy(), b[0]) for W, b in pieces(rung.network)]
    return [torch.from_numpy(part).to(device) for layer in made for part in layer]


def _data(rung: Rung, device: DeviceName) -> _Data:
    import torch

    X, y, order = (torch.from_numpy(part).to(device) for part in rung.training_data())
    window = torch.arange(rung.network.batch, device=device)
    return _Data(X, y.long(), order, window, torch.zeros(1, dtype=torch.int64, device=device))


def _next_batch(data: _Data) -> tuple[Any, Any]:
    index = data.order.index_select(0, data.cursor + data.window)
    data.cursor.add_(len(data.window)).remainder_(len(data.order))
    return data.X.index_select(0, index), data.y.index_select(0, index)


def _forward(parameters: Sequence[Any], x: Any, dtype: Any) -> Any:
    """The last pre-activations, in float32; products and activations in ``dtype``."""
    from torch.nn.functional import linear, relu

    x, last = x.to(dtype), len(parameters) - 2
    for i in range(0, last, 2):
        x = relu(linear(x, parameters[i].to(dtype), parameters[i + 1].to(dtype)))
    return linear(x, parameters[last].to(dtype), parameters[last + 1].to(dtype)).float()


def _cost(parameters: Sequence[Any], x: Any, y: Any, dtype: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(_forward(parameters, x, dtype), y)


def _dtype(rung: Rung) -> Any:
    import torch

    return torch.bfloat16 if rung.precision == "bf16" else torch.float32


def _training(rung: Rung, device: DeviceName) -> tuple[Callable[[], Any], Callable[[], None]]:
    """A step with torch's fused Adam, and a way back to its start."""
    import torch

    parameters, data, dtype = [p.requires_grad_() for p in _parameters(rung, device)], _data(rung, device), _dtype(rung)
    adam = torch.optim.Adam(parameters, RATE, (B1, B2), EPSILON, fused=True, capturable=device == "cuda")
    start = [p.detach().clone() for p in parameters]

    def step() -> Any:
        adam.zero_grad(set_to_none=True)
        loss = _cost(parameters, *_next_batch(data), dtype)
        loss.backward()
        adam.step()
        return loss.detach()

    def restart() -> None:
        data.cursor.zero_()
        with torch.no_grad():
            for p, at_start in zip(parameters, start, strict=True):
                p.copy_(at_start)
            for moments in adam.state.values():
                for moment in moments.values():
                    moment.zero_()

    return step, restart


def _prediction(rung: Rung, device: DeviceName) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Classes of all rows; it changes nothing, so there is nothing to undo."""
    import torch

    parameters, dtype = _parameters(rung, device), _dtype(rung)
    X = torch.from_numpy(rung.rows_to_predict()).to(device)

    def call() -> Any:
        with torch.inference_mode():
            return _forward(parameters, X, dtype).argmax(-1)

    return call, lambda: None


def _compiled(rung: Rung, device: DeviceName, mode: str) -> Runner:
    """torch.compile of the whole work; on a CPU only its capture is tried, no code is generated."""
    import torch

    torch._dynamo.reset()  # a function that it knows from another network it would compile for all shapes
    how: dict[str, Any] = {"fullgraph": True, "dynamic": False}
    how |= {"mode": mode} if device == "cuda" else {"backend": "eager"}
    parameters, dtype = _parameters(rung, device), _dtype(rung)
    if rung.kind == "inference":
        X = torch.from_numpy(rung.rows_to_predict()).to(device)
        _keep_in_place([X, *parameters])
        classes = torch.compile(lambda X: _forward(parameters, X, dtype).argmax(-1), **how)
        return _runner(rung, device, partial(classes, X))
    data, t = _data(rung, device), torch.zeros((), device=device)
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    _keep_in_place([*data, t, *parameters, *m, *v])
    step = torch.compile(partial(_whole_step, dtype), **how)
    return _runner(rung, device, partial(step, data, parameters, m, v, t))


def _keep_in_place(tensors: Sequence[Any]) -> None:
    """Else the CUDA graph of torch.compile would copy them in every call, or be given up where they are written to."""
    import torch

    for tensor in tensors:
        torch._dynamo.mark_static_address(tensor)


def _whole_step(dtype: Any, data: _Data, parameters: Any, m: Any, v: Any, t: Any) -> Any:
    """Gather, forward, loss, backward and Adam as one function, which writes into its parameters."""
    import torch

    gradients, loss = torch.func.grad_and_value(_cost)(parameters, *_next_batch(data), dtype)
    t.add_(1)
    rate, root = RATE / -torch.expm1(t * math.log(B1)), (-torch.expm1(t * math.log(B2))).sqrt()
    for p, m_, v_, g in zip(parameters, m, v, gradients, strict=True):
        m_.mul_(B1).add_(g, alpha=1 - B1)
        v_.mul_(B2).addcmul_(g, g, value=1 - B2)
        p.sub_(rate * m_ / (v_.sqrt() / root + EPSILON))
    return loss
