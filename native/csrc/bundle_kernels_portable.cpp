// Kernels of bundle adjustment for any processor: 128-bit vectors (SSE2, NEON).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "bundle_kernels.hpp"

#define TARGET
#define VECTOR_BYTES 16
#define GRAM_ROWS 3
#define GRAM_COLUMNS 3

namespace spatialbeam::bundle {
namespace {

template <typename V>
inline V square_root(V v) {
  for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); ++i) v[i] = std::sqrt(v[i]);
  return v;
}

typedef float FourFloats __attribute__((vector_size(VECTOR_BYTES)));
typedef float TwoFloats __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef double TwoDoubles __attribute__((vector_size(VECTOR_BYTES)));

inline FourFloats widen(FourFloats v) { return v; }
inline TwoDoubles widen(TwoFloats v) { return __builtin_convertvector(v, TwoDoubles); }

template <typename V>
inline void keep_in_register(V&) {}

// Processors without FMA round twice: emulating it is hundreds of times slower.
template <typename V>
inline V fused(V a, V b, V c) {
#if defined(__FP_FAST_FMA) || defined(__aarch64__)
  V sum = {};
  for (unsigned i = 0; i < sizeof(a) / sizeof(a[0]); ++i) sum[i] = std::fma(a[i], b[i], c[i]);
  return sum;
#else
  return a * b + c;
#endif
}

template <typename V>
inline double sum_lanes(V v) {
  for (unsigned half = sizeof(v) / sizeof(v[0]) / 2; half > 0; half /= 2) {
    for (unsigned i = 0; i < half; ++i) v[i] += v[i + half];
  }
  return double(v[0]);
}

#include "bundle_kernels_body.hpp"

}  // namespace

template <>
Kernels<float> portable_kernels<float>() {
  return make_kernels<float>();
}

template <>
Kernels<double> portable_kernels<double>() {
  return make_kernels<double>();
}

}  // namespace spatialbeam::bundle
