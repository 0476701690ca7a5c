// Up to eight pieces, one after the other, in the flat vectors (members, size) from entry ``first`` on.
//
// The grid is (blocks, pieces, members of a stack). The pointers are parameters: an array of them would have to be
// brought over from the host.

extern "C" __global__ void join(
    Real* flat, long long size, long long first, const Real* p0, const Real* p1, const Real* p2, const Real* p3,
    const Real* p4, const Real* p5, const Real* p6, const Real* p7, long long n0, long long n1, long long n2,
    long long n3, long long n4, long long n5, long long n6, long long n7) {
  const Real* piece = p0;
  long long n = n0;
#define NEXT(number)           \
  if (blockIdx.y >= number) {  \
    first += n;                \
    piece = p##number;         \
    n = n##number;             \
  }
  NEXT(1) NEXT(2) NEXT(3) NEXT(4) NEXT(5) NEXT(6) NEXT(7)
#undef NEXT
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long long)blockDim.x)
    flat[blockIdx.z * size + first + i] = piece[blockIdx.z * n + i];
}
