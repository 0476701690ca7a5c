// The updates of ``chainrule.optimizers``, each one pass over the flat vector. Their laws stand there.
//
// The grid is (blocks, members of a stack); a member has ``n`` parameters, and a rate of its own where ``rates`` is 1.
// The step t and the rate are read from the device's memory, since they change while a captured graph does not.

#define EACH_PARAMETER(i)                                                                            \
  for (long long i = blockIdx.y * n + blockIdx.x * (long long)blockDim.x + threadIdx.x,              \
                 last = (blockIdx.y + 1) * n;                                                        \
       i < last; i += gridDim.x * (long long)blockDim.x)

extern "C" __global__ void sgd(Real* theta, const Real* g, const Real*, const Real* eta, long long n, long long rates) {
  const Real rate = eta[blockIdx.y * rates];
  EACH_PARAMETER(i) theta[i] -= rate * g[i];
}

extern "C" __global__ void momentum(
    Real* theta, const Real* g, Real* v, const Real*, const Real* eta, long long n, long long rates, double mu_,
    double nesterov) {
  const Real rate = eta[blockIdx.y * rates], mu = mu_;
  EACH_PARAMETER(i) {
    v[i] = mu * v[i] + g[i];
    theta[i] -= rate * (nesterov != 0 ? g[i] + mu * v[i] : v[i]);
  }
}

extern "C" __global__ void velocity_momentum(
    Real* theta, const Real* g, Real* v, const Real*, const Real* eta, long long n, long long rates, double mu_,
    double nesterov) {
  const Real rate = eta[blockIdx.y * rates], mu = mu_;
  EACH_PARAMETER(i) {
    const Real step = rate * g[i];
    v[i] = mu * v[i] - step;
    theta[i] += nesterov != 0 ? mu * v[i] - step : v[i];
  }
}

extern "C" __global__ void averaged_momentum(
    Real* theta, const Real* g, Real* v, const Real*, const Real* eta, long long n, long long rates, double beta_) {
  const Real rate = eta[blockIdx.y * rates], beta = beta_, rest = 1.0 - beta_;
  EACH_PARAMETER(i) {
    v[i] = beta * v[i] + rest * g[i];
    theta[i] -= rate * v[i];
  }
}

extern "C" __global__ void adagrad(
    Real* theta, const Real* g, Real* s, const Real*, const Real* eta, long long n, long long rates, double epsilon_) {
  const Real rate = eta[blockIdx.y * rates], epsilon = epsilon_;
  EACH_PARAMETER(i) {
    s[i] += g[i] * g[i];
    theta[i] -= rate * g[i] / (sqrt(s[i]) + epsilon);
  }
}

extern "C" __global__ void rmsprop(
    Real* theta, const Real* g, Real* s, const Real*, const Real* eta, long long n, long long rates, double rho_,
    double epsilon_) {
  const Real rate = eta[blockIdx.y * rates], rho = rho_, rest = 1.0 - rho_, epsilon = epsilon_;
  EACH_PARAMETER(i) {
    s[i] = rho * s[i] + rest * (g[i] * g[i]);
    theta[i] -= rate * g[i] / (sqrt(s[i]) + epsilon);
  }
}

// 1 - beta^t; ln 0 is -infinity, and the correction 1.
static __device__ Real bias_correction(double ln_beta, Real t) { return -expm1(t * Real(ln_beta)); }

extern "C" __global__ void adam(
    Real* theta, const Real* g, Real* m, Real* v, const Real* t, const Real* eta, long long n, long long rates,
    double b1_, double b2_, double ln_b1, double ln_b2, double epsilon_, double epsilon_hat) {
  const Real b1 = b1_, c1 = 1.0 - b1_, b2 = b2_, c2 = 1.0 - b2_, correction = bias_correction(ln_b2, t[0]);
  const Real step = eta[blockIdx.y * rates] / bias_correction(ln_b1, t[0]);
  const Real epsilon = epsilon_hat != 0 ? Real(epsilon_) / sqrt(correction) : Real(epsilon_);
  EACH_PARAMETER(i) {
    m[i] = b1 * m[i] + c1 * g[i];
    v[i] = b2 * v[i] + c2 * (g[i] * g[i]);
    theta[i] -= step * m[i] / (sqrt(v[i] / correction) + epsilon);
  }
}

extern "C" __global__ void adamw(
    Real* theta, const Real* g, Real* m, Real* v, const Real* decays, const Real* t, const Real* eta, long long n,
    long long rates, double b1_, double b2_, double ln_b1, double ln_b2, double epsilon_, double decay) {
  const Real b1 = b1_, c1 = 1.0 - b1_, b2 = b2_, c2 = 1.0 - b2_, correction = bias_correction(ln_b2, t[0]);
  const Real rate = eta[blockIdx.y * rates], step = rate / bias_correction(ln_b1, t[0]), epsilon = epsilon_;
  const Real shrinks = rate * Real(decay);
  EACH_PARAMETER(i) {
    m[i] = b1 * m[i] + c1 * g[i];
    v[i] = b2 * v[i] + c2 * (g[i] * g[i]);
    const Real decayed = theta[i] * (1 - shrinks * decays[i - blockIdx.y * n]);
    theta[i] = decayed - step * m[i] / (sqrt(v[i] / correction) + epsilon);
  }
}

static __device__ Real sign(Real x) { return x > 0 ? Real(1) : x < 0 ? Real(-1) : x; }

extern "C" __global__ void lion(
    Real* theta, const Real* g, Real* m, const Real*, const Real* eta, long long n, long long rates, double b1_,
    double b2_) {
  const Real rate = eta[blockIdx.y * rates], b1 = b1_, c1 = 1.0 - b1_, b2 = b2_, c2 = 1.0 - b2_;
  EACH_PARAMETER(i) {
    theta[i] -= rate * sign(b1 * m[i] + c1 * g[i]);
    m[i] = b2 * m[i] + c2 * g[i];
  }
}

extern "C" __global__ void decayed_lion(
    Real* theta, const Real* g, Real* m, const Real* decays, const Real*, const Real* eta, long long n, long long rates,
    double b1_, double b2_, double decay) {
  const Real rate = eta[blockIdx.y * rates], b1 = b1_, c1 = 1.0 - b1_, b2 = b2_, c2 = 1.0 - b2_;
  const Real shrinks = rate * Real(decay);
  EACH_PARAMETER(i) {
    const Real decayed = theta[i] * (1 - shrinks * decays[i - blockIdx.y * n]);
    theta[i] = decayed - rate * sign(b1 * m[i] + c1 * g[i]);
    m[i] = b2 * m[i] + c2 * g[i];
  }
}
