// CUDA C++ on the CPU, so that kernels can be tested where there is no GPU. Included before a kernel's source.
//
// The threads of a block are fibers on one thread of the CPU: each runs until it waits for the others, at a
// __syncthreads or a shuffle, and each warp until it waits for other warps. With -DBACKWARDS the last one runs first,
// so a missing __syncthreads changes results. Stricter than a GPU: a barrier that some threads have left behind is an
// error, and so is an argument whose type is not the parameter's. One block runs after the other, so races between
// blocks are not seen.

#undef _FORTIFY_SOURCE  // which takes a jump to another stack for an error

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__ __attribute__((used))
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __shared__ static  // blocks run one after the other
#define __launch_bounds__(...)
#define __align__(bytes)  // dynamic shared memory begins at a multiple of 16

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace on_cpu {

enum class Waits { nothing, warp, block };

struct Fiber {
  jmp_buf place;  // a thread of the block goes on
  jmp_buf idle;   // its stack takes another thread
  void* stack = nullptr;
  bool is_idle = false;
  dim3 index;
  Waits waits;
  bool begun, done;
};

constexpr size_t STACK = 1 << 16;
static std::vector<Fiber> fibers;  // of the block that runs, and those that larger blocks before it had
static std::vector<unsigned long long> exchanged;
static std::vector<unsigned char> shared;  // dynamic, between edges
static jmp_buf scheduler;
static unsigned current, threads;
static void (*thread_body)();
static std::string failure;

// By jumps, since swapcontext takes a system call.
static void wait(Waits for_whom) {
  fibers[current].waits = for_whom;
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

// The warp that runs: so many threads, and whose turn it is among them.
static unsigned warp_first, warp_threads, turn;

// Which of so many comes at this place.
static unsigned in_order(unsigned place, unsigned number) {
#ifdef BACKWARDS
  return number - 1 - place;
#else
  return place;
#endif
}

static void enter(unsigned t) {
  current = t;
  threadIdx = fibers[t].index;
}

// On the stack of a thread that is done the next one begins: as long as none waits, a thread costs a call.
static bool next_begins() {
  if (!failure.empty() || turn + 1 >= warp_threads) return false;
  const unsigned t = warp_first + in_order(turn + 1, warp_threads);
  if (fibers[t].begun) return false;
  turn++;
  enter(t);
  return true;
}

static void run_threads() {
  const unsigned own = current;
  for (;;) {
    do {
      fibers[current].begun = true;
      try {
        thread_body();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      fibers[current].done = true;
    } while (next_begins());
    fibers[own].is_idle = true;
    if (!_setjmp(fibers[own].idle)) _longjmp(scheduler, 1);
  }
}

// A context is made once for a stack, since that takes system calls.
static void start(Fiber& fiber) {
  if (fiber.is_idle) {
    fiber.is_idle = false;
    _longjmp(fiber.idle, 1);
  }
  if (!fiber.stack) {
    fiber.stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fiber.stack == MAP_FAILED) throw std::runtime_error("no memory for a thread's stack");
  }
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = STACK;
  makecontext(&context, run_threads, 0);
  setcontext(&context);
}

static void resume(unsigned t) {
  enter(t);
  if (_setjmp(scheduler)) return;
  if (fibers[t].begun) _longjmp(fibers[t].place, 1);
  start(fibers[t]);
}

// Lets the threads first to last - 1 go on if all of them wait for the same; says whether they did.
static bool release(unsigned first, unsigned last, Waits for_whom) {
  for (unsigned t = first; t < last; t++)
    if (fibers[t].done || fibers[t].waits != for_whom) return false;
  for (unsigned t = first; t < last; t++) fibers[t].waits = Waits::nothing;
  return true;
}

constexpr size_t SHARED_EDGE = 1024;
constexpr unsigned char UNSET = 0xff;  // not a number, as a float and as a bf16

static unsigned char* shared_start() {
  const size_t at = reinterpret_cast<size_t>(shared.data()) + SHARED_EDGE;
  return shared.data() + SHARED_EDGE + (16 - at % 16) % 16;
}

static void check_shared_edges(size_t bytes) {
  for (const unsigned char* at = shared.data(); at < shared.data() + shared.size(); at++)
    if ((at < shared_start() || at >= shared_start() + bytes) && *at != UNSET)
      throw std::runtime_error("a write beyond the dynamic shared memory");
}

// As far as the warp comes without the others.
static void run_warp(unsigned first) {
  warp_first = first;
  warp_threads = first + 32 < threads ? 32 : threads - first;
  do
    for (turn = 0; turn < warp_threads; turn++) {
      const unsigned t = first + in_order(turn, warp_threads);
      if (fibers[t].done || fibers[t].waits != Waits::nothing) continue;
      resume(t);
      if (!failure.empty()) throw std::runtime_error(failure);
    }
  while (release(first, first + warp_threads, Waits::warp));
}

static void run_block(size_t shared_bytes) {
  if (shared_bytes) shared.assign(shared_bytes + 2 * SHARED_EDGE, UNSET);
  for (unsigned t = 0; t < threads; t++) {
    fibers[t].waits = Waits::nothing;
    fibers[t].begun = fibers[t].done = false;
  }
  do
    for (unsigned i = 0; i < threads; i += 32) run_warp(in_order(i / 32, (threads + 31) / 32) * 32);
  while (release(0, threads, Waits::block));
  for (unsigned t = 0; t < threads; t++)
    if (!fibers[t].done) throw std::runtime_error("threads wait at a barrier that others do not reach");
  if (shared_bytes) check_shared_edges(shared_bytes);
}

template <class T>
static T exchange(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(unsigned long long));
  if (mask != 0xffffffffu) throw std::runtime_error("a shuffle among a part of a warp is not covered");
  if (threads % 32) throw std::runtime_error("a shuffle in a warp of fewer than 32 threads");
  memcpy(&exchanged[current], &value, sizeof(T));
  wait(Waits::warp);
  T got;
  memcpy(&got, &exchanged[current / 32 * 32 + source % 32], sizeof(T));
  wait(Waits::warp);
  return got;
}

// An argument as the caller has it: its address, 'p', 'i' or 'f', and the size of it, or of an element of an array.
struct Argument {
  const void* at;
  char kind;
  int size;
};
static const Argument* arguments;

static void expect(int number, char kind, int size) {
  const Argument& got = arguments[number];
  if (got.kind != kind || got.size != size)
    throw std::runtime_error("argument " + std::to_string(number) + " must be " + kind + std::to_string(size) +
                             ", got " + got.kind + std::to_string(got.size));
}

template <class T>
static T read(int number) {
  constexpr char kind = std::is_pointer_v<T> ? 'p' : std::is_integral_v<T> ? 'i' : 'f';
  expect(number, kind, sizeof(std::conditional_t<std::is_pointer_v<T>, std::remove_pointer_t<T>, T>));
  T value;
  memcpy(&value, arguments[number].at, sizeof(T));
  return value;
}

template <class... A, size_t... I>
static void call(void (*kernel)(A...), std::index_sequence<I...>) {
  kernel(read<A>(I)...);
}

template <class... A>
static void call(void (*kernel)(A...)) {
  call(kernel, std::index_sequence_for<A...>());
}

template <class... A>
static constexpr int count(void (*)(A...)) {
  return sizeof...(A);
}

static void run_grid(size_t shared_bytes) {
  threads = blockDim.x * blockDim.y * blockDim.z;
  if (threads < 1 || threads > 1024 || blockDim.z > 64) throw std::runtime_error("a block has 1 to 1024 threads");
  if (!gridDim.x || !gridDim.y || !gridDim.z || gridDim.x > 0x7fffffff || gridDim.y > 65535 || gridDim.z > 65535)
    throw std::runtime_error("a grid has 1 to 2^31 - 1, 65535, 65535 blocks");
  if (fibers.size() < threads) fibers.resize(threads);
  for (unsigned t = 0; t < threads; t++)
    fibers[t].index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
  exchanged.resize(threads);
  shared.assign(shared_bytes + 2 * SHARED_EDGE, UNSET);
  for (unsigned z = 0; z < gridDim.z; z++)
    for (unsigned y = 0; y < gridDim.y; y++)
      for (unsigned x = 0; x < gridDim.x; x++) {
        blockIdx = {x, y, z};
        run_block(shared_bytes);
      }
  check_shared_edges(shared_bytes);
}

// The one way in, for each kernel: why its launch failed, or an empty string. ``body`` calls it.
static const char* launch(
    void (*body)(), int parameters, const unsigned* size, size_t shared_bytes, const Argument* given, int number) {
  static std::string said;
  said.clear();
  failure.clear();
  gridDim = {size[0], size[1], size[2]};
  blockDim = {size[3], size[4], size[5]};
  arguments = given;
  thread_body = body;
  try {
    if (number != parameters)
      throw std::runtime_error("expected " + std::to_string(parameters) + " arguments, got " + std::to_string(number));
    run_grid(shared_bytes);
  } catch (const std::exception& error) {
    said = error.what();
    for (Fiber& fiber : fibers) fiber.is_idle = false;  // nor do those go on that wait
  }
  return said.c_str();
}

}  // namespace on_cpu

static inline void __syncthreads() { on_cpu::wait(on_cpu::Waits::block); }

template <class T>
static T __shfl_sync(unsigned mask, T value, int lane) {
  return on_cpu::exchange(mask, value, lane);
}

template <class T>
static T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return on_cpu::exchange(mask, value, on_cpu::current % 32 ^ lanes);
}

template <class T>
static T __shfl_down_sync(unsigned mask, T value, int by) {
  const unsigned lane = on_cpu::current % 32;
  return on_cpu::exchange(mask, value, lane + by < 32 ? lane + by : lane);
}

static inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof x);
  return bits;
}

static inline float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Tensor cores, in the place of the PTX that kernels have where __CUDACC__ is defined. Where a matrix's entries lie is
// written down from the PTX ISA: "Matrix Fragments for mma.m16n8k8" (.tf32), "for mma.m16n8k16 with floating point
// type" (.bf16), and "ldmatrix". Stricter: an operand in tf32 has no bits that a tensor core would not read.

namespace on_cpu {

struct Fragments {
  unsigned a[4], b[2];
  const unsigned short* row;
};
static Fragments fragments[1024];  // of the block's threads

// Those of the warp's lanes; none is written over before all lanes have called ``done``.
static const Fragments* gathered(const Fragments& own) {
  if (threads % 32) throw std::runtime_error("a tensor core in a warp of fewer than 32 threads");
  fragments[current] = own;
  wait(Waits::warp);
  return fragments + current / 32 * 32;
}

static void done() { wait(Waits::warp); }

template <class A, class B>
static void add_product(float (&c)[4], int depth, A a, B b) {
  const int lane = current % 32;
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < depth; k++) c[i] += a(lane / 4 + i / 2 * 8, k) * b(k, lane % 4 * 2 + i % 2);
}

static float tf32(unsigned bits) {
  if (bits & 0x1fff) throw std::runtime_error("an operand is not rounded to tf32");
  return __uint_as_float(bits);
}

static float bf16(unsigned pair, int half) { return __uint_as_float(half ? pair & 0xffff0000u : pair << 16); }

static void load(unsigned (&r)[4], const unsigned short* row, bool transposed) {
  if (reinterpret_cast<size_t>(row) % 16) throw std::runtime_error("a row of a matrix is not aligned to 16 bytes");
  const Fragments* lanes = gathered({{}, {}, row});
  const int group = current % 32 / 4, first = current % 4 * 2;
  for (int matrix = 0; matrix < 4; matrix++) {
    const Fragments* rows = lanes + 8 * matrix;
    const unsigned low = transposed ? rows[first].row[group] : rows[group].row[first];
    const unsigned high = transposed ? rows[first + 1].row[group] : rows[group].row[first + 1];
    r[matrix] = low | high << 16;
  }
  done();
}

}  // namespace on_cpu

static inline unsigned to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return 0x7fffe000u;
  return (x - x != 0 ? bits : bits + 0x1000u) & 0xffffe000u;  // infinity as it is
}

static inline unsigned short to_bf16(float x) {
  const unsigned bits = __float_as_uint(x);
  return x != x ? 0x7fff : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

static inline void load_matrices(unsigned (&r)[4], const unsigned short* row) { on_cpu::load(r, row, false); }

static inline void load_matrices_transposed(unsigned (&r)[4], const unsigned short* row) { on_cpu::load(r, row, true); }

static inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const on_cpu::Fragments* lanes = on_cpu::gathered({{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, nullptr});
  on_cpu::add_product(
      c, 8, [=](int row, int k) { return on_cpu::tf32(lanes[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2]); },
      [=](int k, int column) { return on_cpu::tf32(lanes[column * 4 + k % 4].b[k / 4]); });
  on_cpu::done();
}

static inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const on_cpu::Fragments* lanes = on_cpu::gathered({{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, nullptr});
  on_cpu::add_product(
      c, 16,
      [=](int row, int k) { return on_cpu::bf16(lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2); },
      [=](int k, int column) { return on_cpu::bf16(lanes[column * 4 + k % 8 / 2].b[k / 8], k % 2); });
  on_cpu::done();
}
