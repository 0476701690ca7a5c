// Products in float32: fused multiply-adds in registers, with the entries where a tensor core has them.

using Operand = float;
constexpr int DEPTH = 4;

static __device__ Operand rounded(float x) { return x; }
static __device__ float number(Operand x) { return x; }

template <bool a_transposed, bool b_transposed>
static __device__ void accumulate(Tile& c, const Operand* a, int a_pitch, const Operand* b, int b_pitch) {
  const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll
  for (int k = 0; k < DEPTH; k++) {
    const float upper = entry<a_transposed>(a, a_pitch, row, k), lower = entry<a_transposed>(a, a_pitch, row + 8, k);
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int right = 0; right < 2; right++) {
        const float factor = entry<b_transposed>(b, b_pitch, k, n * 8 + column + right);
        c[n][right] += upper * factor;
        c[n][right + 2] += lower * factor;
      }
  }
}
