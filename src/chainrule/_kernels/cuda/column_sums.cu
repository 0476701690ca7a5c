// The sums over a matrix's rows, added in an order that its shape alone decides: there are no atomics.
//
// A block of (w, 256/w) threads, both powers of two, has w columns of one slab of rows; the grid is (columns / w,
// slabs, members of a stack). The sums of several slabs, (members, slabs, columns), are summed once more.

extern "C" __global__ void column_sums(const Real* x, Real* sums, long long rows, long long columns) {
  __shared__ Real parts[256];
  const long long column = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const long long slab = (rows + gridDim.y - 1) / gridDim.y;
  const long long first = blockIdx.y * slab, last = first + slab < rows ? first + slab : rows;
  Real sum = 0;
  if (column < columns)
    for (long long row = first + threadIdx.y; row < last; row += blockDim.y)
      sum += x[(blockIdx.z * rows + row) * columns + column];
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
  parts[thread] = sum;
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) parts[thread] += parts[thread + half * blockDim.x];
  }
  if (threadIdx.y == 0 && column < columns)
    sums[(blockIdx.z * (long long)gridDim.y + blockIdx.y) * columns + column] = parts[thread];
}
