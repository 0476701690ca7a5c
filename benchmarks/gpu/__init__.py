"""On a CUDA GPU: our training step and prediction beside torch's and JAX's, and above the floor.

    ci/gpu                          the tests, then what eight minutes have room for
    ci/gpu --minutes 13             or 3
    PYTHONPATH=src:benchmarks python -m gpu --plan 8     what that is, without a GPU
    PYTHONPATH=src:benchmarks python -m gpu --dry-run    tiny networks on the CPU, NumPy in CuPy's place

**The same work.** Everybody starts from the same weights, holds the same random data on the device, and gathers the
rows of its batches there by the same permutation. What is compared is the first step's gradient and the way that theta
has gone after 20 steps at Adam's usual rate, of every W and b, with the textbook's equations in float64 (``equality``,
``reference``). Who does other work is named, and counts for nothing.

**Time** is that of steps for at least 0.2 s, after some that warm up, with the device at rest at both ends. Contenders
take turns, each in a process of its own; another one begins every round. The minimum, the median and the spread of the
rounds are kept, and what the card did meanwhile (``clocks``). What there is time and memory for, ``plan`` decides.

**Ours on CuPy is three columns**: what ``fit`` and ``predict`` do by default; with ``compile=True``, which is off by
default; and trials, which no user of the library gets: as many steps in a graph as JAX scans; one kernel that takes
all layers, forward and back; and products that apply ReLU and sum the bias gradients before they write.

**Ours on torch's arrays**, without and with ``compile=True``, **and on JAX's** are three more, in float32: what one
code path costs beside these libraries' own, and what somebody has who has no CuPy. They are the first to be left out
where there is no memory for all.

**The strongest opponents.** torch's whole step compiled with "max-autotune-no-cudagraphs" and captured by hand in a
CUDA graph of k steps; its eager kernels with fused Adam in such a graph; and eager, of which the best counts. JAX with
k steps in one ``lax.scan``, its state donated. k is the same for all, and stands in every row; ``fit`` has 1.

**Precision** stands in every row, and says how products are taken. In bf16 torch and JAX keep activations and add
biases in it too, as their users do; ours keeps them in float32.

**The floor** is the step's matrix products in the same precision, into memory that is there, by torch.mm in a CUDA
graph, and 28 bytes a parameter copied. Only a kernel that holds several products can be below it.
"""
