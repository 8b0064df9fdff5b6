// Kernels of bundle adjustment for x86-64 processors with AVX-512.
#include "bundle_kernels.hpp"

#ifdef SPATIALBEAM_HAS_X86_BUNDLE_KERNELS

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#define VECTOR_BYTES 64
#define GRAM_ROWS 6
#define GRAM_COLUMNS 4

namespace spatialbeam::bundle {
namespace {

TARGET __attribute__((always_inline)) inline __m512 square_root(__m512 v) { return _mm512_maskz_sqrt_ps(0xffff, v); }
TARGET __attribute__((always_inline)) inline __m512d square_root(__m512d v) { return _mm512_maskz_sqrt_pd(0xff, v); }

// Arrays are rarely cache-aligned: a value that is reloaded costs two cache lines each time.
template <typename V>
TARGET __attribute__((always_inline)) inline void keep_in_register(V& v) {
  asm("" : "+v"(v));
}

TARGET __attribute__((always_inline)) inline __m512 widen(__m512 v) { return v; }
TARGET __attribute__((always_inline)) inline __m512d widen(__m256 v) { return _mm512_maskz_cvtps_pd(0xff, v); }

TARGET __attribute__((always_inline)) inline __m512 fused(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}
TARGET __attribute__((always_inline)) inline __m512d fused(__m512d a, __m512d b, __m512d c) {
  return _mm512_fmadd_pd(a, b, c);
}

TARGET __attribute__((always_inline)) inline double sum_lanes(__m512 v) {
  const __m256 eight =
      _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return double(_mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two))));
}
TARGET __attribute__((always_inline)) inline double sum_lanes(__m512d v) {
  const __m256d four = _mm256_add_pd(_mm512_maskz_extractf64x4_pd(0xf, v, 0), _mm512_maskz_extractf64x4_pd(0xf, v, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#include "bundle_kernels_body.hpp"

}  // namespace

template <>
Kernels<float> avx512_kernels<float>() {
  return make_kernels<float>();
}

template <>
Kernels<double> avx512_kernels<double>() {
  return make_kernels<double>();
}

}  // namespace spatialbeam::bundle

#endif
