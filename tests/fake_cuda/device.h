// What CuPy's kernels use beyond what tests/cuda_on_cpu.h has, and the way into a kernel from a launch of the driver's.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../cuda_on_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#define __host__
#define __noinline__
#define __constant__ static

using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;
using std::signbit;

namespace on_cpu {

static void** parameters;

template <class... A, size_t... I>
static void call_at(void (*kernel)(A...), std::index_sequence<I...>) {
  kernel(*reinterpret_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(parameters[I])...);
}

template <class... A>
static void call_at(void (*kernel)(A...)) {
  call_at(kernel, std::index_sequence_for<A...>());
}

template <class... A>
static int sizes(void (*)(A...), int* made) {
  int number = 0;
  ((made[number++] = sizeof(A)), ...);
  return number;
}

static const char* launch_at(void (*body)(), const unsigned* size, size_t shared_bytes, void** given) {
  parameters = given;
  return launch(body, 0, size, shared_bytes, nullptr, 0);
}

template <class To, class From>
static To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace on_cpu

template <class T>
static T atomicAdd(T* p, T value) {
  const T before = *p;
  *p += value;
  return before;
}

template <class T>
static T atomicExch(T* p, T value) {
  const T before = *p;
  *p = value;
  return before;
}

template <class T>
static T atomicCAS(T* p, T compared, T value) {
  const T before = *p;
  if (before == compared) *p = value;
  return before;
}

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline float __int_as_float(int x) { return on_cpu::bits<float>(x); }
static inline int __float_as_int(float x) { return on_cpu::bits<int>(x); }
static inline double __longlong_as_double(long long x) { return on_cpu::bits<double>(x); }
static inline long long __double_as_longlong(double x) { return on_cpu::bits<long long>(x); }
