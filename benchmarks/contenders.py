"""The libraries that ``peers`` compares: the same steps and predictions in the words of each, a process for each."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from grid import GRID, Bind, Network, products, threads_of_fit

import chainrule as cr
from chainrule._backend import reference_backend
from chainrule._kernels import with_providers
from chainrule.batch import Batch, make_window
from chainrule.training._step import Problem, initial_state, make_epoch_step

BATCHES = 8  # of the data, in turn
COMPARED = 20  # losses
RATE, B1, B2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
BLOCK = 0.03  # seconds

Pieces = list[tuple[np.ndarray, np.ndarray]]  # W (n_in, n_out) and b (1, n_out) of each layer
Candidates = dict[str, Callable[[], "Runner"]]  # by setting
Make = Callable[[Network, int | None], Candidates]
Batching = Callable[..., tuple[Any, Any]]  # from what a step is given to its examples and classes


class Task(NamedTuple):
    """What is timed: training steps, or predictions of so many rows; ``threads`` are torch's, where they are said."""

    network: str
    rows: int | None = None
    threads: int | None = None

    def __str__(self) -> str:
        return self.network if self.rows is None else f"{self.network} at {self.rows} rows"


class Runner:
    """Something that is done again and again: a training step, or a prediction."""

    def first(self) -> np.ndarray:
        """The results that must be everybody's: of the first steps, or for the first rows."""
        raise NotImplementedError

    def run(self, count: int) -> None:
        """Do it ``count`` times, and return when all is done."""
        raise NotImplementedError

    def time(self, count: int) -> float:
        """Seconds a time, over ``count`` times or a few more."""
        started = time.perf_counter()
        self.run(count)
        return (time.perf_counter() - started) / count

    def block(self, least: int) -> float:
        """Seconds a time, over as many as fill a block; those that find out how many are not counted."""
        count, each = 1, self.time(1)
        while count * each < BLOCK / 4:
            count *= 2
            each = self.time(count)
        return self.time(max(least, round(BLOCK / each)))

    def trial(self, least: int) -> float:
        """Seconds a time, by which settings are compared."""
        return min(self.block(least) for _ in range(3))


class Calls(Runner):
    """Predictions: ``call`` answers with class indices."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def first(self) -> np.ndarray:
        return np.asarray(self._call())[:1024]

    def run(self, count: int) -> None:
        for _ in range(count):
            self._call()


class Steps(Runner):
    """Training steps on batches that are ready: ``step(x, y)`` returns the loss, ``wait`` returns when all is done."""

    def __init__(
        self, step: Callable[[Any, Any], Any], batches: Sequence[tuple[Any, Any]], wait: Callable[[], Any] | None = None
    ) -> None:
        self.step, self._batches, self._wait = step, batches, wait

    def first(self) -> np.ndarray:
        return np.array([float(self.step(*self._batches[i % BATCHES])) for i in range(COMPARED)])

    def run(self, count: int) -> None:
        step, batches = self.step, self._batches
        for i in range(count):
            step(*batches[i % BATCHES])
        if self._wait is not None:
            self._wait()


def as_it_is(x: Any, y: Any) -> tuple[Any, Any]:
    """The batch of a step that is given its batch."""
    return x, y


def training_data(network: Network, batches: int = BATCHES) -> tuple[np.ndarray, np.ndarray]:
    """Examples and classes; every class is there, because scikit-learn takes their number from y."""
    X, y = network.data(batches)
    y[: network.sizes[-1]] = np.arange(network.sizes[-1])
    return X, y.astype(np.int32)


def in_batches(network: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    X, y = training_data(network)
    return list(zip(np.split(X, BATCHES), np.split(y, BATCHES), strict=True))


def rows_to_predict(network: Network, rows: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, network.sizes[0]), dtype=np.float32)


def pieces(network: Network, theta: np.ndarray | None = None) -> Pieces:
    """W and b of each layer; without ``theta`` the initial ones."""
    theta = network.net.initial_theta(0) if theta is None else theta
    parts = [[theta[s.start : s.stop].reshape(s.shape) for s in group] for group in network.net.layout.groups]
    return [(W.astype(np.float32), b.astype(np.float32)) for W, b in filter(None, parts)]


def trained(network: Network) -> cr.Model:
    """A model after one epoch; without Numba the same in every process."""
    on = with_providers(reference_backend("numpy"), fast=False)
    return cr.fit(network.net, *training_data(network), loss="softmax_cross_entropy", epochs=1, backend=on)


# chainrule


class ChainruleSteps(Runner):
    """What ``fit`` does in its innermost loop."""

    def __init__(self, network: Network, on: cr.Backend) -> None:
        problem = Problem(network.net, cr.SoftmaxCrossEntropy(), cr.Adam(RATE, B1, B2, EPSILON))
        X, y = training_data(network)
        self._network, self._on, self._program = network, on, on.compile(make_epoch_step, problem)
        self._state = initial_state(on, problem, seed=0)
        self._data, self._window = Batch(X, y.reshape(-1, 1)), make_window(on, network.batch)
        self._order = np.arange(len(X), dtype=np.int32)
        self._taken = 0

    def _steps(self, most: int) -> int:
        """At most so many steps of an epoch, together where the program can; how many were taken."""
        if self._taken == BATCHES:
            self._state.cursor[...] = self._taken = 0
        steps, inputs = min(most, BATCHES - self._taken), (self._data, self._order, self._window)
        self._state = self._program.repeat(steps, self._state, *inputs)
        self._taken += steps
        return steps

    def first(self) -> np.ndarray:
        losses = []
        for _ in range(COMPARED):
            self._steps(1)
            losses.append(self._state.cost[0] / self._state.weight[0])
            self._state.cost[...] = self._state.weight[...] = 0
        self._order = np.random.default_rng(0).permutation(self._order)
        return np.array(losses)

    def run(self, count: int) -> None:
        with threads_of_fit(self._network, self._on, self._program):
            while count:
                count -= self._steps(count)


def chainrule(network: Network, rows: int | None, *, fast: bool = False) -> Candidates:
    setting = "NumPy and Numba" if fast else "NumPy"
    return _chainrule(setting, with_providers(reference_backend("numpy"), fast=fast), network, rows)


def chainrule_bf16(network: Network, rows: int | None) -> Candidates:
    return _chainrule("NumPy, bf16", cr.backend("numpy", precision="bf16"), network, rows)


def _chainrule(setting: str, on: cr.Backend, network: Network, rows: int | None) -> Candidates:
    if rows is None:
        return {setting: lambda: ChainruleSteps(network, on)}
    model, X = trained(network).to(on), rows_to_predict(network, rows)
    return {setting: lambda: Calls(lambda: model.predict(X))}


# scikit-learn


class _EnoughError(Exception):
    """Ends a fit."""


def classifier(network: Network, start: Pieces, **options: Any) -> Any:
    """scikit-learn's classifier, which starts from given weights and calls ``before_step`` before each step."""
    from sklearn.neural_network import MLPClassifier

    waiting = list(start)

    class Classifier(MLPClassifier):
        def _init_coef(self, *_: Any) -> tuple[np.ndarray, np.ndarray]:
            W, b = waiting.pop(0)
            return W.copy(), b.reshape(-1).copy()

        def _backprop(self, *arguments: Any) -> Any:
            self.before_step()
            made = super()._backprop(*arguments)
            self.losses.append(made[0])
            return made

    made = Classifier(
        network.sizes[1:-1], solver="adam", alpha=0.0, batch_size=network.batch, learning_rate_init=RATE, tol=0.0,
        n_iter_no_change=np.inf, random_state=0, beta_1=B1, beta_2=B2, epsilon=EPSILON, **options,
    )  # fmt: skip
    made.losses, made.before_step = [], lambda: None
    return made


class SklearnSteps(Runner):
    """``fit``, timed from the start of one step to the start of another; each fit goes on from the last weights."""

    def __init__(self, network: Network) -> None:
        self._data = training_data(network)
        self._model = classifier(network, pieces(network), max_iter=-(-COMPARED // BATCHES), shuffle=False)

    def first(self) -> np.ndarray:
        with warnings.catch_warnings(action="ignore"):  # it says that it has not converged
            self._model.fit(*self._data)
        self._model.set_params(max_iter=10**9, shuffle=True, warm_start=True)
        return np.array(self._model.losses[:COMPARED])

    def time(self, count: int) -> float:
        """The first step of a fit is not counted: its arrays are new."""
        if count > BATCHES:
            count = -(-count // BATCHES) * BATCHES
        starts: list[float] = []

        def before_step() -> None:
            starts.append(time.perf_counter())
            if len(starts) == count + 2:
                raise _EnoughError

        self._model.before_step = before_step
        with suppress(_EnoughError):
            self._model.fit(*self._data)
        return (starts[-1] - starts[1]) / count


def sklearn(network: Network, rows: int | None) -> Candidates:
    if rows is None:
        return {"fit": lambda: SklearnSteps(network)}
    model, X = classifier(network, pieces(network, trained(network).theta)), rows_to_predict(network, rows)
    model.before_step = _end_fit
    with suppress(_EnoughError):
        model.fit(*training_data(network))
    return {"predict": lambda: Calls(lambda: model.predict(X))}


def _end_fit() -> None:
    """Before its first step, so that the model is ready and has the weights it was given."""
    raise _EnoughError


# torch


class OnThreads(Runner):
    """A torch runner on so many threads."""

    def __init__(self, threads: int, make: Callable[[], Runner]) -> None:
        self._threads = threads
        self._set()
        self._runner = make()

    def _set(self) -> None:
        import torch

        torch.set_num_threads(self._threads)

    def first(self) -> np.ndarray:
        self._set()
        return self._runner.first()

    def trial(self, least: int) -> float:
        self._set()
        return self._runner.trial(least)

    def block(self, least: int) -> float:
        self._set()
        return self._runner.block(least)


@cache
def _all_threads() -> int:
    import torch

    return torch.get_num_threads()  # until we set it


def _threads(setting: str, threads: int) -> str:
    return f"{setting}, {threads} thread{'s' * (threads > 1)}"


def on_one_and_all(makes: Mapping[str, Callable[[], Runner]]) -> Candidates:
    """Each setting on one thread, and on as many as torch takes by itself."""
    return {
        _threads(setting, threads): partial(OnThreads, threads, make)
        for threads in dict.fromkeys((1, _all_threads()))
        for setting, make in makes.items()
    }


def torch_module(weights: Pieces) -> Any:
    """Linear layers with ReLU between them."""
    import torch

    layers = []
    for W, b in weights:
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b[0]))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _torch_batches(network: Network) -> list[tuple[Any, Any]]:
    import torch

    return [(torch.from_numpy(x).clone(), torch.from_numpy(y).long()) for x, y in in_batches(network)]


def torch_eager(network: Network, rows: int | None, *, bf16: bool = False) -> Candidates:
    """``bf16``: under autocast, as its documentation has it: forward and loss, not backward."""
    if rows is None:
        return on_one_and_all({name: partial(make, network, bf16=bf16) for name, make in EAGER.items()})
    return on_one_and_all({"inference_mode": partial(_torch_calls, network, rows, bf16)})


def torch_medium(network: Network, rows: int | None) -> Candidates:
    """Operands of float32 products may be rounded to bf16: all of torch, in this process of its own."""
    import torch

    torch.set_float32_matmul_precision("medium")
    return torch_eager(network, rows)


def _autocast(bf16: bool) -> Any:
    import torch

    return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()


def _eager_steps(network: Network, fused: bool | None, *, bf16: bool = False, batch: Batching = as_it_is) -> Steps:
    import torch

    model = torch_module(pieces(network))
    optimizer = torch.optim.Adam(model.parameters(), RATE, (B1, B2), EPSILON, fused=fused)

    def step(*given: Any) -> Any:
        x, y = batch(*given)
        optimizer.zero_grad()
        with _autocast(bf16):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Steps(step, _torch_batches(network))


EAGER: dict[str, Callable[..., Steps]] = {
    "default Adam": partial(_eager_steps, fused=None),
    "fused Adam": partial(_eager_steps, fused=True),
}


def _torch_calls(network: Network, rows: int, bf16: bool) -> Runner:
    import torch

    model, X = torch_module(pieces(network, trained(network).theta)), torch.from_numpy(rows_to_predict(network, rows))

    def call() -> Any:
        with torch.inference_mode(), _autocast(bf16):
            return model(X).argmax(-1)

    return Calls(call)


# torch.compile


def torch_compile(network: Network, rows: int | None) -> Candidates:
    """Two ways to compile a step, each called from Python and from C++."""
    return on_one_and_all({name: partial(make, network) for name, make in COMPILED.items()}) if rows is None else {}


def _cost(parameters: Sequence[Any], x: Any, y: Any) -> Any:
    """Of W transposed and b of each layer in turn."""
    from torch.nn.functional import cross_entropy, linear, relu

    last = len(parameters) - 2
    for i in range(0, last, 2):
        x = relu(linear(x, parameters[i], parameters[i + 1]))
    return cross_entropy(linear(x, parameters[last], parameters[last + 1]), y)


def _compiled_gradient(network: Network, options: dict[str, Any], *, batch: Batching = as_it_is) -> Steps:
    """Forward, loss and backward compiled as one function, and torch's fused Adam."""
    import torch

    parameters = [p.detach() for p in torch_module(pieces(network)).parameters()]
    optimizer = torch.optim.Adam(parameters, RATE, (B1, B2), EPSILON, fused=True)
    cost = torch.func.grad_and_value(lambda parameters, *given: _cost(parameters, *batch(*given)))
    gradient = torch.compile(cost, fullgraph=True, options=options)

    def step(*given: Any) -> Any:
        gradients, loss = gradient(parameters, *given)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        optimizer.step()
        return loss

    return Steps(step, _torch_batches(network))


def _whole_step(network: Network, options: dict[str, Any], *, batch: Batching = as_it_is) -> Steps:
    """Forward, loss, backward and Adam compiled as one function, which writes into its parameters."""
    import torch

    parameters = [p.detach() for p in torch_module(pieces(network)).parameters()]
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    t = torch.zeros(())

    def whole(parameters: Any, m: Any, v: Any, t: Any, *given: Any) -> Any:
        gradients, loss = torch.func.grad_and_value(_cost)(parameters, *batch(*given))
        t.add_(1)
        rate, root = RATE / -torch.expm1(t * math.log(B1)), (-torch.expm1(t * math.log(B2))).sqrt()
        for p, m_, v_, g in zip(parameters, m, v, gradients, strict=True):
            m_.mul_(B1).add_(g, alpha=1 - B1)
            v_.mul_(B2).addcmul_(g, g, value=1 - B2)
            p.sub_(rate * m_ / (v_.sqrt() / root + EPSILON))
        return loss

    compiled = torch.compile(whole, fullgraph=True, options=options)
    return Steps(partial(compiled, parameters, m, v, t), _torch_batches(network))


COMPILED: dict[str, Callable[..., Steps]] = {
    f"{what} compiled{', called from C++' * cpp}": partial(make, options={"cpp_wrapper": cpp})
    for what, make in (("whole step", _whole_step), ("gradient", _compiled_gradient))
    for cpp in (False, True)
}


# jax


def jax_jit(network: Network, rows: int | None) -> Candidates:
    return {"jit": partial(_jax_steps, network) if rows is None else partial(_jax_calls, network, rows)}


def _jax_forward(weights: Any, x: Any) -> Any:
    import jax

    for W, b in weights[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = weights[-1]
    return x @ W + b


def jax_step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The parameters and Adam's moments after a step, and its loss."""
    import jax
    import jax.numpy as jnp

    def cost(weights: Any) -> Any:
        z = _jax_forward(weights, x)
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * jax.nn.one_hot(y, z.shape[-1]), axis=-1))

    weights, m, v, t = state
    loss, g = jax.value_and_grad(cost)(weights)
    t = t + 1
    m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, g)
    v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
    rate, root = RATE / -jnp.expm1(t * math.log(B1)), jnp.sqrt(-jnp.expm1(t * math.log(B2)))
    weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPSILON), weights, m, v)
    return (weights, m, v, t), loss


def jax_start(network: Network) -> Any:
    """Before the first step."""
    import jax
    import jax.numpy as jnp

    weights = jax.device_put(pieces(network))
    return weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights), jnp.zeros(())


def _jax_steps(network: Network) -> Runner:
    """One program for the whole step, which is given its state to keep."""
    import jax

    program, state = jax.jit(jax_step, donate_argnums=0), jax_start(network)

    def step(x: Any, y: Any) -> Any:
        nonlocal state
        state, loss = program(state, x, y)
        return loss

    return Steps(step, jax.device_put(in_batches(network)), lambda: jax.block_until_ready(state))


def _jax_calls(network: Network, rows: int) -> Runner:
    import jax

    weights, X = jax.device_put((pieces(network, trained(network).theta), rows_to_predict(network, rows)))
    classes = jax.jit(lambda weights, X: _jax_forward(weights, X).argmax(-1))
    return Calls(lambda: classes(weights, X).block_until_ready())


# onnxruntime and OpenVINO, which predict


def _onnx_model(network: Network) -> bytes:
    """The trained network and its argmax, as an ONNX file."""
    from onnx import TensorProto, checker, helper, numpy_helper

    weights, nodes, constants, a = pieces(network, trained(network).theta), [], [], "X"
    for i, (W, b) in enumerate(weights):
        constants += [numpy_helper.from_array(np.ascontiguousarray(x), f"{n}{i}") for n, x in (("W", W), ("b", b[0]))]
        nodes.append(helper.make_node("Gemm", [a, f"W{i}", f"b{i}"], [a := f"z{i}"]))
        if i < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [a], [a := f"a{i}"]))
    nodes.append(helper.make_node("ArgMax", [a], ["class"], axis=1, keepdims=0))
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["rows", network.sizes[0]])
    answer = helper.make_tensor_value_info("class", TensorProto.INT64, ["rows"])
    graph = helper.make_graph(nodes, network.name, [given], [answer], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    return made.SerializeToString()


def onnxruntime(network: Network, rows: int | None) -> Candidates:
    """float32 alone: on this kind of processor it has no products in bf16."""
    if rows is None:
        return {}
    import onnxruntime as ort

    model, X = _onnx_model(network), rows_to_predict(network, rows)

    def make(threads: int) -> Runner:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return Calls(lambda: session.run(None, {"X": X})[0])

    return {_threads("run", t): partial(make, t) for t in {1, len(os.sched_getaffinity(0))}}


def openvino(network: Network, rows: int | None, *, precision: str = "f32") -> Candidates:
    """In float32, which must be asked for where the machine has bf16, or in bf16."""
    if rows is None:
        return {}
    import openvino as ov

    core = ov.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise NotImplementedError("this processor has no bf16")
    model, X = core.read_model(_onnx_model(network)), rows_to_predict(network, rows)
    model.reshape(list(X.shape))

    def make(threads: int) -> Runner:
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        return Calls(lambda: request.infer(X, share_inputs=True, share_outputs=True)[0])

    return {_threads(precision, t): partial(make, t) for t in {1, len(os.sched_getaffinity(0))}}


# the products of a step alone, which the floor stands on


class Products(Runner):
    """What ``grid.products`` multiplies, by another library."""

    def __init__(self, network: Network, bind: Bind | None = None) -> None:
        self._run, self._operands = products(network, bind=bind)

    def first(self) -> np.ndarray:
        self._run()
        return np.resize([np.abs(out).mean() for *_, out in self._operands], COMPARED)

    def run(self, count: int) -> None:
        for _ in range(count):
            self._run()


def products_torch(network: Network, _: int | None) -> Candidates:
    import torch

    def bind(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], Any]:
        return partial(torch.mm, torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))

    return on_one_and_all({"torch.mm": lambda: Products(network, bind)})


def products_mkl(network: Network, _: int | None, *, threading: str) -> Candidates:
    """``cblas_sgemm`` of the package ``mkl``, by ctypes: about a microsecond a product more than ``np.matmul``."""
    os.environ["MKL_THREADING_LAYER"] = threading  # read when the first product is asked for
    if threading == "TBB":
        _installed_library("tbb", "libtbb.so")  # which MKL does not find beside itself
    sgemm = _installed_library("mkl", "mkl_rt").cblas_sgemm
    sgemm.restype = None
    number, real, address = ctypes.c_int, ctypes.c_float, ctypes.c_void_p

    def bind(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], None]:
        (m, k), n = a.shape, b.shape[1]
        sides = []
        for x in (a, b):
            plain = x.flags.c_contiguous
            sides.append((number(111 if plain else 112), address(x.ctypes.data), number(max(x.shape[plain], 1))))
        (of_a, at_a, lda), (of_b, at_b, ldb) = sides
        sizes = (number(m), number(n), number(k))
        result = (real(0.0), address(out.ctypes.data), number(n))
        return partial(sgemm, number(101), of_a, of_b, *sizes, real(1.0), at_a, lda, at_b, ldb, *result)

    return {f"cblas_sgemm, {threading.lower()}": lambda: Products(network, bind)}


def _installed_library(package: str, name: str) -> Any:
    found = [file for file in importlib.metadata.files(package) or () if name in file.name]
    return ctypes.CDLL(str(found[0].locate()), ctypes.RTLD_GLOBAL)


CONTENDERS: dict[str, Make] = {
    "chainrule": chainrule,
    "chainrule_fast": partial(chainrule, fast=True),
    "chainrule_bf16": chainrule_bf16,
    "sklearn": sklearn,
    "torch": torch_eager,
    "torch_compile": torch_compile,
    "torch_medium": torch_medium,
    "torch_bf16": partial(torch_eager, bf16=True),
    "jax": jax_jit,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino_bf16": partial(openvino, precision="bf16"),
    "products_numpy": lambda network, _: {"np.matmul": lambda: Products(network)},
    "products_torch": products_torch,
    **{
        f"products_mkl_{name}": partial(products_mkl, threading=name.upper()) for name in ("sequential", "intel", "tbb")
    },
}


def fastest(candidates: Candidates, least: int) -> tuple[str, np.ndarray, Runner]:
    """The setting that three blocks find fastest, its first results, and the runner that made them."""
    best: tuple[float, str, np.ndarray, Runner] | None = None
    failure: Exception | None = None
    for setting, make in candidates.items():
        try:
            runner = make()
            first = runner.first()
            seconds = runner.trial(least) if len(candidates) > 1 else 0.0
        except Exception as error:  # whatever a peer's compiler raises; another setting may work
            failure = error
            continue
        if best is None or seconds < best[0]:
            best = seconds, setting, first, runner
    if best is None:
        raise failure or NotImplementedError("it has no such task")
    return best[1:]


def rest() -> None:
    """Return when no thread of this process works any more, or after a second."""
    for _ in range(100):
        used = time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.001:
            return


def sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def work(connection: Any, name: str, known: Mapping[str, Make] = CONTENDERS) -> None:
    """Answer the parent until it says None; an answer is a value and None, or None and what went wrong."""
    runner: Runner | None = None
    while (message := connection.recv()) is not None:
        question, argument, least = message
        try:
            if question == "prepare":
                runner = None  # its memory is free before the next one is made
                setting, first, runner = fastest(known[name](GRID[argument.network], argument.rows), least)
                answer: Any = setting, first
            else:
                assert runner is not None
                answer = runner.block(least)
            rest()
            connection.send((answer, None))
        except Exception as error:
            connection.send((None, sentence(error)))
