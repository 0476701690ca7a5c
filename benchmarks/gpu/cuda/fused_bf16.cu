// Products in bf16 on tensor cores, with sums in float32: 16 x 16 by 16 x 8 at a time.

#ifdef __CUDACC__
// To the nearest, ties to the even one.
static __device__ unsigned short to_bf16(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

// Four matrices of 8 x 8, whose rows begin where the lanes 0 to 7, 8 to 15, and so on point to.
static __device__ void load_matrices(unsigned (&r)[4], const unsigned short* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

static __device__ void load_matrices_transposed(unsigned (&r)[4], const unsigned short* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

static __device__ void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

using Operand = unsigned short;
constexpr int DEPTH = 16;

static __device__ Operand rounded(float x) { return to_bf16(x); }
static __device__ float number(Operand x) { return __uint_as_float(unsigned(x) << 16); }

// Where a lane's row of a 16 x 16 square begins: squares of 8 x 8 are numbered downwards, or to the right.
static __device__ const Operand* downwards(const Operand* square, int pitch, int lane) {
  return square + lane % 16 * pitch + lane / 16 * 8;
}

static __device__ const Operand* rightwards(const Operand* square, int pitch, int lane) {
  return square + (lane / 16 * 8 + lane % 8) * pitch + lane / 8 % 2 * 8;
}

template <bool a_transposed, bool b_transposed>
static __device__ void accumulate(Tile& c, const Operand* a, int a_pitch, const Operand* b, int b_pitch) {
  const int lane = threadIdx.x % 32;
  unsigned left[4], pair[4];
  if (a_transposed)
    load_matrices_transposed(left, rightwards(a, a_pitch, lane));
  else
    load_matrices(left, downwards(a, a_pitch, lane));
#pragma unroll
  for (int n = 0; n < 4; n += 2) {
    if (b_transposed)
      load_matrices(pair, rightwards(b + n * 8 * b_pitch, b_pitch, lane));
    else
      load_matrices_transposed(pair, downwards(b + n * 8, b_pitch, lane));
    mma_bf16(c[n], left, {pair[0], pair[1]});
    mma_bf16(c[n + 1], left, {pair[2], pair[3]});
  }
}
