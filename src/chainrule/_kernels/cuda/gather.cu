// A batch: the rows order[cursor + i] of the examples, the targets and the weights (w_columns is 0 without).
//
// The cursor is read from the device's memory, so one captured graph serves all batches. A block of (w, 256/w) threads
// has 256/w rows. An index beyond its array wraps around, as in CuPy's own take.

static __device__ long long wrapped(long long i, long long n) { return (i % n + n) % n; }

template <class Number>
static __device__ void copy_row(const Number* from, Number* to, long long source, long long row, long long columns) {
  for (long long j = threadIdx.x; j < columns; j += blockDim.x) to[row * columns + j] = from[source * columns + j];
}

#define GATHER(name, Target)                                                                                      \
  extern "C" __global__ void name(                                                                                \
      const Real* x, const Target* y, const Real* w, const int* order, const int* cursor, Real* x_out,            \
      Target* y_out, Real* w_out, long long rows, long long length, long long batch, long long x_columns,         \
      long long y_columns, long long w_columns) {                                                                 \
    const long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;                                       \
    if (row >= batch) return;                                                                                     \
    const long long source = wrapped(order[wrapped(cursor[0] + row, length)], rows);                              \
    copy_row(x, x_out, source, row, x_columns);                                                                   \
    copy_row(y, y_out, source, row, y_columns);                                                                   \
    copy_row(w, w_out, source, row, w_columns);                                                                   \
  }

GATHER(gather_classes, int)
GATHER(gather_numbers, Real)
