// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, SC 2011), and what ``chainrule._random`` makes of it.
//
// k0 and k1 have one word for each member of a stack; the counter is (column of words, row). The grid and the block are
// as for column sums, over the columns of words.

static __device__ void threefry(unsigned k0, unsigned k1, unsigned& x0, unsigned& x1) {
  const unsigned schedule[3] = {k0, k1, 0x1BD11BDAu ^ k0 ^ k1}, rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  x0 += k0;
  x1 += k1;
#pragma unroll
  for (unsigned i = 0; i < 20; i++) {
    const unsigned r = rotations[i % 8], j = i / 4 + 1;
    x0 += x1;
    x1 = (x1 << r | x1 >> (32 - r)) ^ x0;
    if (i % 4 == 3) {
      x0 += schedule[j % 3];
      x1 += schedule[(j + 1) % 3] + j;
    }
  }
}

template <class Write>
static __device__ void each_word_pair(
    const int* k0, const int* k1, long long rows, long long words, long long first_row, Write write) {
  const long long column = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (column >= words) return;
  for (long long row = blockIdx.y * (long long)blockDim.y + threadIdx.y; row < rows;
       row += gridDim.y * (long long)blockDim.y) {
    unsigned x0 = column, x1 = row + first_row;
    threefry(k0[blockIdx.z], k1[blockIdx.z], x0, x1);
    write(blockIdx.z * rows + row, column, x0, x1);
  }
}

// Element c of a row is piece c / words of pair c % words: 16 bits, compared with the threshold.
extern "C" __global__ void dropout_mask(
    const int* k0, const int* k1, Real* mask, long long rows, long long columns, long long first_row,
    long long threshold, double kept) {
  const long long words = (columns + 3) / 4;
  each_word_pair(k0, k1, rows, words, first_row, [=](long long row, long long column, unsigned x0, unsigned x1) {
    const unsigned pieces[4] = {x0 & 0xFFFF, x0 >> 16, x1 & 0xFFFF, x1 >> 16};
#pragma unroll
    for (int piece = 0; piece < 4; piece++, column += words)
      if (column < columns) mask[row * columns + column] = pieces[piece] >= threshold ? Real(kept) : Real(0);
  });
}

// Element c of a row is word c / words of pair c % words: its upper 24 bits, as a fraction of 2^24.
extern "C" __global__ void uniform(
    const int* k0, const int* k1, Real* fractions, long long rows, long long columns, long long first_row) {
  const long long words = (columns + 1) / 2;
  each_word_pair(k0, k1, rows, words, first_row, [=](long long row, long long column, unsigned x0, unsigned x1) {
    fractions[row * columns + column] = Real(x0 >> 8) * Real(1.0 / 16777216);
    if (column + words < columns) fractions[row * columns + column + words] = Real(x1 >> 8) * Real(1.0 / 16777216);
  });
}
