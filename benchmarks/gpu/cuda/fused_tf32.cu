// Products in tf32 on tensor cores, with sums in float32: 16 x 8 by 8 x 8 at a time.

#ifdef __CUDACC__
// To the nearest, ties away from 0: 10 bits of the mantissa are left.
static __device__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

static __device__ void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

using Operand = float;  // rounded when it is stored, once, not whenever it is read
constexpr int DEPTH = 8;

static __device__ Operand rounded(float x) { return __uint_as_float(to_tf32(x)); }
static __device__ float number(Operand x) { return x; }

template <bool a_transposed, bool b_transposed>
static __device__ void accumulate(Tile& c, const Operand* a, int a_pitch, const Operand* b, int b_pitch) {
  const int lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  unsigned left[4], right[2];
#pragma unroll
  for (int i = 0; i < 4; i++)
    left[i] = __float_as_uint(entry<a_transposed>(a, a_pitch, group + i % 2 * 8, member + i / 2 * 4));
#pragma unroll
  for (int n = 0; n < 4; n++) {
#pragma unroll
    for (int i = 0; i < 2; i++)
      right[i] = __float_as_uint(entry<b_transposed>(b, b_pitch, member + i * 4, n * 8 + group));
    mma_tf32(c[n], left, right);
  }
}
