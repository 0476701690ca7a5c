// float32 rounded to bf16, its upper half, in integers: to the nearest, ties to the even one, past the largest to
// infinity. NaN stays NaN: the quiet bit is set, or one whose payload lies in the lower half would become infinity.

extern "C" __global__ void bf16(const unsigned* x, unsigned short* words, long long n) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long long)blockDim.x) {
    const unsigned bits = x[i], upper = bits >> 16;
    const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    words[i] = is_nan ? upper | 0x40u : (bits + 0x7fffu + (upper & 1u)) >> 16;
  }
}
