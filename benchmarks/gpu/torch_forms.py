"""torch in three forms: eager, its kernels in a CUDA graph, and what torch.compile makes of the whole step in one.

The last is the strongest: "max-autotune-no-cudagraphs" picks and fuses kernels, and a graph captured by hand, of
several steps, launches them without the Python and the guards that torch.compile's own graphs pay for at every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from .ladder import Rung
from .runners import (
    B1,
    B2,
    EPSILON,
    DeviceName,
    NotMeasuredError,
    Pieces,
    Runner,
    Trainee,
    pieces,
    predicting,
    training,
)

_PRODUCTS = {"float32": "highest", "tf32": "high", "bf16": "highest"}  # torch's words for those of float32


class _Data(NamedTuple):
    """The training data; the batch is ``order[cursor + window]``."""

    X: Any
    y: Any
    order: Any
    window: Any
    cursor: Any


def eager(rung: Rung, device: DeviceName) -> Runner:
    """With torch's fused Adam."""
    if rung.kind == "inference":
        return predicting(_prediction(rung, device), _wait(device))
    return training(rung, _eager(rung, device))


def graph(rung: Rung, device: DeviceName) -> Runner:
    """The same, in a CUDA graph of as many steps as JAX scans."""
    if device != "cuda":
        raise NotMeasuredError("a CUDA graph needs a CUDA device.")
    if rung.kind == "inference":
        return predicting(captured(_prediction(rung, device)), _wait(device))
    return training(rung, _in_graph(rung, _eager(rung, device)))


def compiled_graph(rung: Rung, device: DeviceName) -> Runner:
    """On a CPU only what is captured for compiling is tried: nothing is generated, and there is no graph."""
    on_gpu = device == "cuda"
    how = {"mode": "max-autotune-no-cudagraphs"} if on_gpu else {"backend": "eager"}
    compiled = partial(_compiled, how)
    if rung.kind == "inference":
        call = _prediction(rung, device, compiled)
        return predicting(captured(call) if on_gpu else call, _wait(device))
    trainee = _whole(rung, device, compiled)
    return training(rung, _in_graph(rung, trainee) if on_gpu else trainee)


def captured(work: Callable[[], Any], times: int = 1) -> Callable[[], Any]:
    """So many calls of ``work`` as a CUDA graph that overwrites its result; a call of it is a single launch."""
    import torch

    side, main = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    main.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            result = work()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def set_products(rung: Rung) -> None:
    """float32 products in full precision, or in tf32."""
    import torch

    torch.set_float32_matmul_precision(_PRODUCTS[rung.precision])


def _in_graph(rung: Rung, trainee: Trainee) -> Trainee:
    trainee.restart()
    return replace(trainee, dispatch=captured(trainee.step, rung.steps))


def _compiled(how: dict[str, Any], function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    torch._dynamo.reset()  # a function that it knows from another network it would compile for all shapes
    compiled: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False, **how)
    return compiled


def _wait(device: DeviceName) -> Callable[[], Any]:
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _parameters(rung: Rung, device: DeviceName) -> list[Any]:
    """W transposed, as torch keeps it, and b of each layer in turn."""
    import torch

    set_products(rung)
    made = [(W.T.copy(), b[0]) for W, b in pieces(rung.network)]
    return [torch.from_numpy(part).to(device) for layer in made for part in layer]


def _on_host(parts: Sequence[Any]) -> Pieces:
    host = [part.detach().cpu().numpy() for part in parts]
    return [(W.T, b[None]) for W, b in zip(host[::2], host[1::2], strict=True)]


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


def _prediction(
    rung: Rung, device: DeviceName, compiled: Callable[[Any], Any] = lambda function: function
) -> Callable[[], Any]:
    """Classes of all rows."""
    import torch

    parameters, dtype = _parameters(rung, device), _dtype(rung)
    X = torch.from_numpy(rung.rows_to_predict()).to(device)
    classes = compiled(lambda X: _forward(parameters, X, dtype).argmax(-1))

    def call() -> Any:
        with torch.inference_mode():
            return classes(X)

    return call


def _trainee(
    rung: Rung, device: DeviceName, step: Callable[[], Any], parameters: Any, m: Callable[[], Any], changed: Any
) -> Trainee:
    """Of a step that takes ``parameters``, and ``changed()`` besides, which are 0 at the start."""
    import torch

    start = [p.detach().cpu().clone() for p in parameters]

    def restart() -> None:
        with torch.no_grad():
            for p, at_start in zip(parameters, start, strict=True):
                p.copy_(at_start)
            for tensor in changed():
                tensor.zero_()

    def dispatch() -> None:
        for _ in range(rung.steps):
            step()

    return Trainee(restart, step, dispatch, lambda: _on_host(parameters), lambda: _on_host(m()), _wait(device))


def _eager(rung: Rung, device: DeviceName) -> Trainee:
    import torch

    parameters, data, dtype = [p.requires_grad_() for p in _parameters(rung, device)], _data(rung, device), _dtype(rung)
    adam = torch.optim.Adam(parameters, rung.rate, (B1, B2), EPSILON, fused=True, capturable=device == "cuda")

    def step() -> Any:
        adam.zero_grad(set_to_none=True)
        loss = _cost(parameters, *_next_batch(data), dtype)
        loss.backward()
        adam.step()
        return loss.detach()

    def changed() -> list[Any]:
        return [data.cursor, *(tensor for moments in adam.state.values() for tensor in moments.values())]

    return _trainee(rung, device, step, parameters, lambda: [adam.state[p]["exp_avg"] for p in parameters], changed)


def _whole(rung: Rung, device: DeviceName, compiled: Callable[[Any], Any]) -> Trainee:
    """A step as one function of tensors, which is what is compiled."""
    import torch

    parameters, data, t = _parameters(rung, device), _data(rung, device), torch.zeros((), device=device)
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    program = compiled(partial(_whole_step, rung.rate, _dtype(rung)))
    return _trainee(
        rung,
        device,
        lambda: program(data, parameters, m, v, t),
        parameters,
        lambda: m,
        lambda: [data.cursor, t, *m, *v],
    )


def _whole_step(rate: float, dtype: Any, data: _Data, parameters: Any, m: Any, v: Any, t: Any) -> Any:
    """Gather, forward, loss, backward and Adam as one function, which writes into its parameters."""
    import torch

    gradients, loss = torch.func.grad_and_value(_cost)(parameters, *_next_batch(data), dtype)
    t.add_(1)
    rate_t, root = rate / -torch.expm1(t * math.log(B1)), (-torch.expm1(t * math.log(B2))).sqrt()
    for p, m_, v_, g in zip(parameters, m, v, gradients, strict=True):
        m_.mul_(B1).add_(g, alpha=1 - B1)
        v_.mul_(B2).addcmul_(g, g, value=1 - B2)
        p.sub_(rate_t * m_ / (v_.sqrt() / root + EPSILON))
    return loss
