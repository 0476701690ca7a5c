// L = ln(sum_j exp z_j) - z_y and dL/dz = softmax(z) - one-hot y, both over the batch's rows, y a class index.
//
// A warp has a row at a time, a block 8 warps; the grid is (blocks, members of a stack). ``sums`` (members, blocks) get
// the sums of L, which are added by ``column_sums``. What is not a number, or infinite, goes where the product with the
// one-hot rows takes it; a class that has no output is a row of zeros.

extern "C" __global__ void softmax_cross_entropy(
    const Real* z, const int* y, Real* dz, Real* sums, long long rows, long long columns) {
  __shared__ Real parts[8];
  const Real share = Real(1.0 / rows);
  Real total = 0;
  for (long long row = blockIdx.x * 8LL + threadIdx.y; row < rows; row += gridDim.x * 8LL) {
    const long long first = (blockIdx.y * rows + row) * columns, own = y[row];
    const Real known = own >= 0 && own < columns;
    Real top = z[first], s = 0, loss = 0;
    for (long long j = threadIdx.x; j < columns; j += 32) top = fmax(top, z[first + j]);
    for (int lanes = 16; lanes > 0; lanes /= 2) top = fmax(top, __shfl_xor_sync(0xffffffffu, top, lanes));
    for (long long j = threadIdx.x; j < columns; j += 32) s += exp(z[first + j] - top);
    for (int lanes = 16; lanes > 0; lanes /= 2) s += __shfl_xor_sync(0xffffffffu, s, lanes);
    const Real log_s = log(s);
    for (long long j = threadIdx.x; j < columns; j += 32) {
      const Real shifted = z[first + j] - top, hot = j == own;
      loss += hot * (log_s - shifted);
      dz[first + j] = (exp(shifted) / s * known - hot) * share;
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) loss += __shfl_xor_sync(0xffffffffu, loss, lanes);
    total += loss;
  }
  if (threadIdx.x == 0) parts[threadIdx.y] = total;
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    Real sum = 0;
    for (int warp = 0; warp < 8; warp++) sum += parts[warp];
    sums[blockIdx.y * (long long)gridDim.x + blockIdx.x] = sum * share;
  }
}
