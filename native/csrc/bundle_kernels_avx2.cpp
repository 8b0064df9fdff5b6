// Kernels of bundle adjustment for x86-64 processors with AVX2.
#include "bundle_kernels.hpp"

#ifdef SPATIALBEAM_HAS_X86_BUNDLE_KERNELS

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#define GRAM_ROWS 4
#define GRAM_COLUMNS 3

namespace spatialbeam::bundle {
namespace {

TARGET __attribute__((always_inline)) inline __m256 square_root(__m256 v) { return _mm256_sqrt_ps(v); }
TARGET __attribute__((always_inline)) inline __m256d square_root(__m256d v) { return _mm256_sqrt_pd(v); }

// Arrays seldom begin at a cache line: what is loaded twice is then read from two lines each time.
template <typename V>
TARGET __attribute__((always_inline)) inline void keep_in_register(V& v) {
  asm("" : "+x"(v));
}

TARGET __attribute__((always_inline)) inline __m256 widen(__m256 v) { return v; }
TARGET __attribute__((always_inline)) inline __m256d widen(__m128 v) { return _mm256_cvtps_pd(v); }

TARGET __attribute__((always_inline)) inline __m256 fused(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}
TARGET __attribute__((always_inline)) inline __m256d fused(__m256d a, __m256d b, __m256d c) {
  return _mm256_fmadd_pd(a, b, c);
}

TARGET __attribute__((always_inline)) inline double sum_lanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return double(_mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two))));
}
TARGET __attribute__((always_inline)) inline double sum_lanes(__m256d v) {
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#include "bundle_kernels_body.hpp"

}  // namespace

template <>
Kernels<float> avx2_kernels<float>() {
  return make_kernels<float>();
}

template <>
Kernels<double> avx2_kernels<double>() {
  return make_kernels<double>();
}

}  // namespace spatialbeam::bundle

#endif
