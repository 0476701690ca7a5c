// ``chainrule.backpropagation`` of a narrow network in one kernel: Dense layers with bias and ReLU between them, then
// the softmax cross-entropy of class indices.
//
// INPUTS, WIDTH (of all HIDDEN layers) and OUTPUTS are constants. A block takes ROWS examples at a time through all
// layers and back, and keeps in shared memory all that a product reads: the weights (of one layer at a time where they
// are not RESIDENT), the activations, and dC/dz of two layers. Widths are padded there to multiples of 32 with zeros;
// so are the rows of the last batch. A block's sums, (gradient in theta's order, cost), are a row of ``partials``,
// which are added by ``column_sums``: there are no atomics, so the order of all sums is fixed.

constexpr int WARPS = 8, THREADS = 32 * WARPS;
constexpr int PAD = 16 / sizeof(Operand);  // so that the rows of a column lie in different banks

// A Dense in theta, n x m and m, and in shared memory, N x M.
template <int n_, int m_>
struct Dense {
  static constexpr int n = n_, m = m_, N = (n + 31) / 32 * 32, M = (m + 31) / 32 * 32;
  static constexpr int X_PITCH = N + PAD, PITCH = M + PAD, HELD = N * PITCH, SIZE = (n + 1) * m;
};
using First = Dense<INPUTS, WIDTH>;
using Middle = Dense<WIDTH, WIDTH>;
using Last = Dense<WIDTH, OUTPUTS>;

constexpr int COLUMNS = WIDTH > Last::M ? WIDTH : Last::M, DZ_PITCH = COLUMNS + PAD, LOGITS_PITCH = Last::M + 8;
constexpr int ALL = First::HELD + (HIDDEN - 1) * Middle::HELD + Last::HELD;
constexpr int WIDER = First::HELD > Last::HELD ? First::HELD : Last::HELD;
constexpr int WEIGHTS = RESIDENT ? ALL : WIDER > Middle::HELD ? WIDER : Middle::HELD;
constexpr int INPUTS_OF_ALL = ROWS * (First::X_PITCH + HIDDEN * Middle::X_PITCH), DZ = ROWS * DZ_PITCH;
constexpr int LOGITS = ROWS * LOGITS_PITCH, BIASES = (HIDDEN + 1) * COLUMNS, SUMS = WARPS * COLUMNS;
constexpr int OPERANDS = WEIGHTS + INPUTS_OF_ALL + 2 * DZ, FLOATS = LOGITS + BIASES + 2 * SUMS + WARPS;
static_assert(SHARED == sizeof(Operand) * OPERANDS + sizeof(float) * FLOATS, "SHARED must be what a block holds");

// What a block holds, by layer; dz and its sums over rows, in parts, of two layers in turn.
struct Held {
  unsigned char* memory;

  __device__ Operand* weights(int l) const {
    return reinterpret_cast<Operand*>(memory) + (!RESIDENT || l == 0 ? 0 : First::HELD + (l - 1) * Middle::HELD);
  }
  __device__ Operand* inputs(int l) const {
    return reinterpret_cast<Operand*>(memory) + WEIGHTS +
           (l == 0 ? 0 : ROWS * (First::X_PITCH + (l - 1) * Middle::X_PITCH));
  }
  __device__ Operand* dz(int l) const {
    return reinterpret_cast<Operand*>(memory) + WEIGHTS + INPUTS_OF_ALL + l % 2 * DZ;
  }
  __device__ float* logits() const { return reinterpret_cast<float*>(dz(0) + 2 * DZ); }
  __device__ float* biases(int l) const { return logits() + LOGITS + l * COLUMNS; }
  __device__ float* sums(int l) const { return logits() + LOGITS + BIASES + l % 2 * SUMS; }
  __device__ float* losses() const { return sums(0) + 2 * SUMS; }
};

// Where layer l begins in theta.
static __device__ int start(int l) { return l == 0 ? 0 : First::SIZE + (l - 1) * Middle::SIZE; }

// C = op(A) op(B), M x N over K: each warp makes a tile at a time and has it used.
template <int M, int N, int K, bool a_transposed, bool b_transposed, class Use>
static __device__ void product(const Operand* a, int a_pitch, const Operand* b, int b_pitch, Use use) {
  const int a_step = a_transposed ? a_pitch : 1, b_step = b_transposed ? 1 : b_pitch;
  for (int tile = threadIdx.x / 32; tile < M / 16 * (N / 32); tile += WARPS) {
    const int row = tile / (N / 32) * 16, column = tile % (N / 32) * 32;
    const Operand* left = a + (a_transposed ? row : row * a_pitch);
    const Operand* right = b + (b_transposed ? column * b_pitch : column);
    Tile c = {};
#pragma unroll 4
    for (int k = 0; k < K; k += DEPTH)
      accumulate<a_transposed, b_transposed>(c, left + k * a_step, a_pitch, right + k * b_step, b_pitch);
    use(row, column, c);
  }
}

template <class D>
static __device__ void load_weights(const float* theta, Operand* W) {
#pragma unroll 8  // so many loads are under way at once
  for (int i = threadIdx.x; i < D::N * D::M; i += THREADS) {
    const int row = i / D::M, column = i % D::M;
    W[row * D::PITCH + column] = rounded(row < D::n && column < D::m ? theta[row * D::m + column] : 0.f);
  }
}

template <class D>
static __device__ void load_biases(const float* theta, float* b) {
  for (int i = threadIdx.x; i < D::M; i += THREADS) b[i] = i < D::m ? theta[D::n * D::m + i] : 0.f;
}

static __device__ void load_examples(const float* x, int rows, Operand* held) {
#pragma unroll 8
  for (int i = threadIdx.x; i < ROWS * First::N; i += THREADS) {
    const int row = i / First::N, column = i % First::N;
    held[row * First::X_PITCH + column] =
        rounded(row < rows && column < INPUTS ? x[(long long)row * INPUTS + column] : 0.f);
  }
}

// Weights that stay are there already.
template <class D>
static __device__ void fetch(const float* theta, Operand* W) {
  if (RESIDENT) return;
  load_weights<D>(theta, W);
  __syncthreads();
}

// z = X W + b, entry by entry.
template <class D, class Use>
static __device__ void affine(const Operand* x, const Operand* W, const float* b, Use use) {
  product<ROWS, D::M, D::N, false, false>(x, D::X_PITCH, W, D::PITCH, [&](int row, int column, Tile& z) {
    each_entry(z, [&](int i, int j, float dot) { use(row + i, column + j, dot + b[column + j]); });
  });
  __syncthreads();
}

// a = max(z, 0), which leaves NaN; 0 in rows without an example.
template <class D>
static __device__ void hidden(const Operand* x, const Operand* W, const float* b, int rows, Operand* a) {
  affine<D>(x, W, b, [=](int row, int column, float z) {
    a[row * Middle::X_PITCH + column] = rounded(row < rows && !(z < 0) ? z : 0.f);
  });
}

// L = ln(sum_j exp z_j) - z_y and dC/dz = (softmax(z) - one-hot y) / rows of the batch; a warp has a row at a time.
// Returns the warp's sum of L. What is not a number, or infinite, goes where the product with one-hot rows takes it;
// a class that has no output is a row of zeros, and so is a row without an example.
static __device__ float cross_entropy(
    const float* logits, const int* y, int rows, float share, Operand* dz, float* sums) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float total = 0, column_sums[Last::M / 32] = {};
  for (int row = warp; row < ROWS; row += WARPS) {
    const float* z = logits + row * LOGITS_PITCH;
    const int own = row < rows ? y[row] : -1;
    const float known = own >= 0 && own < OUTPUTS;
    float top = z[0], s = 0, loss = 0;
    for (int j = lane; j < OUTPUTS; j += 32) top = fmax(top, z[j]);
    for (int lanes = 16; lanes > 0; lanes /= 2) top = fmax(top, __shfl_xor_sync(0xffffffffu, top, lanes));
    for (int j = lane; j < OUTPUTS; j += 32) s += exp(z[j] - top);
    for (int lanes = 16; lanes > 0; lanes /= 2) s += __shfl_xor_sync(0xffffffffu, s, lanes);
    const float log_s = log(s);
#pragma unroll
    for (int part = 0; part < Last::M / 32; part++) {
      const int j = part * 32 + lane;
      const float shifted = z[j] - top, hot = j == own;
      const float entry = j < OUTPUTS ? (exp(shifted) / s * known - hot) * share : 0.f;
      if (j < OUTPUTS) loss += hot * (log_s - shifted);
      column_sums[part] += entry;
      dz[row * DZ_PITCH + j] = rounded(entry);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) loss += __shfl_xor_sync(0xffffffffu, loss, lanes);
    total += loss;
  }
#pragma unroll
  for (int part = 0; part < Last::M / 32; part++) sums[warp * COLUMNS + part * 32 + lane] = column_sums[part];
  __syncthreads();
  return total;
}

static __device__ void add(float* sum, float term, bool first) { *sum = first ? term : *sum + term; }

// dC/dW = X^T dz; dC/db, the sums over the rows of dz, of which ``parts`` are there.
template <class D>
static __device__ void parameter_gradients(
    const Operand* x, const Operand* dz, const float* sums, int parts, float* gradient, bool first) {
  product<D::N, D::M, ROWS, true, false>(x, D::X_PITCH, dz, DZ_PITCH, [&](int row, int column, Tile& dW) {
    each_entry(dW, [&](int i, int j, float entry) {
      if (row + i < D::n && column + j < D::m) add(gradient + (row + i) * D::m + column + j, entry, first);
    });
  });
  for (int j = threadIdx.x; j < D::m; j += THREADS) {
    float db = 0;
    for (int part = 0; part < parts; part++) db += sums[part * COLUMNS + j];
    add(gradient + D::n * D::m + j, db, first);
  }
}

// dC/dz of the layer below: dz W^T where its a = max(z, 0) is above 0.
template <class D>
static __device__ void hidden_gradient(
    const Operand* dz, const Operand* W, const Operand* a, Operand* below, float* sums) {
  product<ROWS, D::N, D::M, false, true>(dz, DZ_PITCH, W, D::PITCH, [&](int row, int column, Tile& tile) {
    each_entry(tile, [&](int i, int j, float& entry) {
      entry *= number(a[(row + i) * D::X_PITCH + column + j]) > 0;
      below[(row + i) * DZ_PITCH + column + j] = rounded(entry);
    });
    sum_rows(tile, sums + row / 16 * COLUMNS + column);
  });
  __syncthreads();
}

static __device__ void load_parameters(const float* theta, Held held) {
  load_biases<First>(theta, held.biases(0));
  for (int l = 1; l < HIDDEN; l++) load_biases<Middle>(theta + start(l), held.biases(l));
  load_biases<Last>(theta + start(HIDDEN), held.biases(HIDDEN));
  if (!RESIDENT) return;
  load_weights<First>(theta, held.weights(0));
  for (int l = 1; l < HIDDEN; l++) load_weights<Middle>(theta + start(l), held.weights(l));
  load_weights<Last>(theta + start(HIDDEN), held.weights(HIDDEN));
}

static __device__ void forward(const float* theta, Held held, int rows) {
  fetch<First>(theta, held.weights(0));
  hidden<First>(held.inputs(0), held.weights(0), held.biases(0), rows, held.inputs(1));
  for (int l = 1; l < HIDDEN; l++) {
    fetch<Middle>(theta + start(l), held.weights(l));
    hidden<Middle>(held.inputs(l), held.weights(l), held.biases(l), rows, held.inputs(l + 1));
  }
  fetch<Last>(theta + start(HIDDEN), held.weights(HIDDEN));
  float* const logits = held.logits();
  affine<Last>(
      held.inputs(HIDDEN), held.weights(HIDDEN), held.biases(HIDDEN),
      [=](int row, int column, float z) { logits[row * LOGITS_PITCH + column] = z; });
}

// From dz of the last layer, whose weights are still there.
static __device__ void backward(const float* theta, Held held, float* gradient, bool first) {
  parameter_gradients<Last>(
      held.inputs(HIDDEN), held.dz(HIDDEN), held.sums(HIDDEN), WARPS, gradient + start(HIDDEN), first);
  hidden_gradient<Last>(
      held.dz(HIDDEN), held.weights(HIDDEN), held.inputs(HIDDEN), held.dz(HIDDEN - 1), held.sums(HIDDEN - 1));
  for (int l = HIDDEN - 1; l > 0; l--) {
    fetch<Middle>(theta + start(l), held.weights(l));
    parameter_gradients<Middle>(held.inputs(l), held.dz(l), held.sums(l), ROWS / 16, gradient + start(l), first);
    hidden_gradient<Middle>(held.dz(l), held.weights(l), held.inputs(l), held.dz(l - 1), held.sums(l - 1));
  }
  parameter_gradients<First>(held.inputs(0), held.dz(0), held.sums(0), ROWS / 16, gradient, first);
  __syncthreads();
}

extern "C" __global__ __launch_bounds__(THREADS, 1) void fused_backpropagation(
    const float* theta, const float* x, const int* y, float* partials, long long rows) {
  extern __shared__ __align__(16) unsigned char memory[];
  const Held held = {memory};
  constexpr int SIZE = First::SIZE + (HIDDEN - 1) * Middle::SIZE + Last::SIZE;
  float* const gradient = partials + blockIdx.x * (long long)(SIZE + 1);
  const float share = 1.0 / rows;
  float total = 0;
  load_parameters(theta, held);
  for (long long row = blockIdx.x * (long long)ROWS; row < rows; row += gridDim.x * (long long)ROWS) {
    const int present = rows - row < ROWS ? rows - row : ROWS;
    load_examples(x + row * INPUTS, present, held.inputs(0));
    __syncthreads();
    forward(theta, held, present);
    total += cross_entropy(held.logits(), y + row, present, share, held.dz(HIDDEN), held.sums(HIDDEN));
    backward(theta, held, gradient, row == blockIdx.x * (long long)ROWS);
  }
  if (threadIdx.x % 32 == 0) held.losses()[threadIdx.x / 32] = total;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float cost = 0;
  for (int warp = 0; warp < WARPS; warp++) cost += held.losses()[warp];
  gradient[SIZE] = cost * share;
}
