// A warp's tile of a product has 16 x 32 entries: four of a tensor core's 16 x 8, side by side.
//
// Lane l has the rows l/4 and l/4 + 8, and of every eight columns 2 (l%4) and the next one (PTX ISA, "Matrix Fragments
// for mma.m16n8k8", accumulators). A file for each precision says what an ``Operand`` in shared memory is, how a number
// is ``rounded`` to it, and what ``accumulate`` adds to a tile: the product of ``DEPTH`` columns with as many rows.

using Tile = float[4][4];

template <bool transposed>
static __device__ float entry(const float* matrix, int pitch, int row, int column) {
  return transposed ? matrix[column * pitch + row] : matrix[row * pitch + column];
}

template <class Use>
static __device__ void each_entry(Tile& tile, Use use) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 16; i++) use(lane / 4 + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2, tile[i / 4][i % 4]);
}

// The sums over the rows, for each of the 32 columns.
static __device__ void sum_rows(const Tile& tile, float* sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float sum = tile[i / 2][i % 2] + tile[i / 2][i % 2 + 2];
    for (int lanes = 4; lanes < 32; lanes *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
    if (lane < 4) sums[i / 2 * 8 + lane * 2 + i % 2] = sum;
  }
}
