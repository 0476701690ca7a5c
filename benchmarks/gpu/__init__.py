"""On a CUDA GPU: our training step and prediction beside torch's and JAX's, and above the floor.

    ci/gpu                          all of it, in under eight minutes
    ci/gpu --stage 4                a part of it, in under three
    PYTHONPATH=src:benchmarks python -m gpu --dry-run    tiny networks on the CPU, NumPy in CuPy's place

**The same work.** Everybody starts from the same weights, holds the same random data on the device, and gathers the
rows of its batches there by the same permutation. Before anything is timed, the losses of everybody's first steps must
be ours; whoever has others is named and not timed, and the rung counts as not comparable.

**Time** is that of a fixed number of steps, divided by it, with the device at rest at both ends. Contenders take turns,
each in a process of its own; another one begins every round. The minimum and the median over the rounds are kept.

**The strongest opponents.** torch in four forms, of which the best counts: eager with fused Adam, torch.compile of the
whole step with "reduce-overhead" and with "max-autotune", and a CUDA graph of the whole step captured by hand. JAX with
all steps of a timing in one ``lax.scan``, its state donated.

**The floor** is the step's matrix products in the same precision, into memory that is there, by the best of
cupy.matmul, torch.mm and a CUDA graph of torch.mm, and 28 bytes a parameter copied. Only a kernel that holds several
products can be below it.
"""
