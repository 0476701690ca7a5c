// Activations of one number, after ``chainrule.activations``: a = g(z), and dC/dz = dC/da g'(z) from z and a = g(z).

constexpr Real SELU_SCALE = 1.0507009873554804934193349852946, SELU_ALPHA = 1.6732632423543772848170429916717;

static __device__ Real sigmoid_of(Real z) {
  const Real e = exp(-fabs(z)), r = 1 / (1 + e);
  return z >= 0 ? r : e * r;
}

static __device__ Real normal_cdf(Real z) { return Real(0.5) * erfc(-z * Real(0.70710678118654752440)); }

static __device__ Real gelu_tanh_of(Real z) {
  return tanh(Real(0.79788456080286535588) * (z + Real(0.044715) * z * z * z));
}

static __device__ Real gelu_tanh_slope(Real far) {
  const Real z = far > 10 ? Real(10) : far < -10 ? Real(-10) : far;  // z^2 of more could be infinite; NaN stays
  const Real t = gelu_tanh_of(z), du = Real(0.79788456080286535588) * (1 + Real(3 * 0.044715) * z * z);
  return Real(0.5) * (1 + t) + Real(0.5) * z * (1 - t * t) * du;
}

template <class G>
static __device__ void activate(const Real* z, Real* a, long long n, Real alpha) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long long)blockDim.x)
    a[i] = G::value(z[i], alpha);
}

template <class G>
static __device__ void gradient(const Real* z, const Real* a, const Real* da, Real* dz, long long n, Real alpha) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long long)blockDim.x)
    dz[i] = da[i] * G::slope(z[i], a[i], alpha);
}

#define FORMULA(name, VALUE, SLOPE)                                                                     \
  struct name##_formula {                                                                               \
    static __device__ Real value(Real z, [[maybe_unused]] Real alpha) { return VALUE; }                 \
    static __device__ Real slope([[maybe_unused]] Real z, [[maybe_unused]] Real a,                      \
                                 [[maybe_unused]] Real alpha) {                                         \
      return SLOPE;                                                                                     \
    }                                                                                                   \
  };

#define ACTIVATION(name)                                                                                \
  extern "C" __global__ void name##_value(const Real* z, Real* a, long long n, double alpha) {          \
    activate<name##_formula>(z, a, n, Real(alpha));                                                     \
  }                                                                                                     \
  extern "C" __global__ void name##_gradient(                                                           \
      const Real* z, const Real* a, const Real* da, Real* dz, long long n, double alpha) {              \
    gradient<name##_formula>(z, a, da, dz, n, Real(alpha));                                             \
  }

FORMULA(relu, z < 0 ? Real(0) : z, Real(a > 0))
FORMULA(leaky_relu, z > 0 ? z : alpha * z, a > 0 ? Real(1) : alpha)
FORMULA(elu, z > 0 ? z : alpha * expm1(z), a > 0 ? Real(1) : a + alpha)
FORMULA(selu, SELU_SCALE * (z > 0 ? z : SELU_ALPHA * expm1(z)), a > 0 ? SELU_SCALE : a + SELU_SCALE * SELU_ALPHA)
FORMULA(sigmoid, sigmoid_of(z), a * (1 - a))
FORMULA(tanh, tanh(z), 1 - a * a)
ACTIVATION(relu)
ACTIVATION(leaky_relu)
ACTIVATION(elu)
ACTIVATION(selu)
ACTIVATION(sigmoid)
ACTIVATION(tanh)

FORMULA(silu, z * sigmoid_of(z), sigmoid_of(z) + a * (1 - sigmoid_of(z)))
FORMULA(
    gelu, z * normal_cdf(z), normal_cdf(z) + z * exp(Real(-0.5) * z * z) * Real(0.39894228040143267794))
FORMULA(gelu_tanh, Real(0.5) * z * (1 + gelu_tanh_of(z)), gelu_tanh_slope(z))
ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
