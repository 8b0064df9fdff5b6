// Row kernels for x86-64 processors with AVX2: operations on vectors of 256 bits.
#include "row_kernels.hpp"

#ifdef SPATIALBEAM_HAS_X86_KERNELS

#include <immintrin.h>

#include <cstring>

#define TARGET __attribute__((target("avx2")))
#define OPERATION TARGET __attribute__((always_inline)) inline

namespace spatialbeam {
namespace {

using Vec = __m256i;

OPERATION Vec load(const void* from) { return _mm256_loadu_si256(static_cast<const Vec*>(from)); }
OPERATION void store(void* to, Vec v) { _mm256_storeu_si256(static_cast<Vec*>(to), v); }
OPERATION __m128i load_half(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
OPERATION Vec load_u8_as_u16(const void* from) { return _mm256_cvtepu8_epi16(load_half(from)); }

OPERATION Vec low_i16_as_i32(Vec v) { return _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v)); }
OPERATION Vec high_i16_as_i32(Vec v) { return _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v, 1)); }

OPERATION Vec zero() { return _mm256_setzero_si256(); }
OPERATION Vec set_all_8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
OPERATION Vec set_all_16(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
OPERATION Vec set_all_32(int v) { return _mm256_set1_epi32(v); }
OPERATION Vec lane_numbers_16() { return _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
OPERATION Vec lane_numbers_32() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

OPERATION Vec bit_or(Vec a, Vec b) { return _mm256_or_si256(a, b); }
OPERATION Vec bit_and(Vec a, Vec b) { return _mm256_and_si256(a, b); }
OPERATION Vec bit_xor(Vec a, Vec b) { return _mm256_xor_si256(a, b); }
OPERATION bool is_zero(Vec v) { return _mm256_testz_si256(v, v); }

OPERATION Vec add_16(Vec a, Vec b) { return _mm256_add_epi16(a, b); }
OPERATION Vec add_32(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
OPERATION Vec add_64(Vec a, Vec b) { return _mm256_add_epi64(a, b); }
OPERATION Vec subtract_16(Vec a, Vec b) { return _mm256_sub_epi16(a, b); }
OPERATION Vec min_u8(Vec a, Vec b) { return _mm256_min_epu8(a, b); }
OPERATION Vec max_u8(Vec a, Vec b) { return _mm256_max_epu8(a, b); }
OPERATION Vec min_u16(Vec a, Vec b) { return _mm256_min_epu16(a, b); }
OPERATION Vec max_u16(Vec a, Vec b) { return _mm256_max_epu16(a, b); }
OPERATION Vec min_16(Vec a, Vec b) { return _mm256_min_epi16(a, b); }
OPERATION Vec max_16(Vec a, Vec b) { return _mm256_max_epi16(a, b); }
OPERATION bool any_equal_16(Vec a, Vec b) { return _mm256_movemask_epi8(_mm256_cmpeq_epi16(a, b)) != 0; }
OPERATION Vec greater_16(Vec a, Vec b) { return _mm256_cmpgt_epi16(a, b); }
OPERATION Vec greater_32(Vec a, Vec b) { return _mm256_cmpgt_epi32(a, b); }
OPERATION Vec absolute_16(Vec v) { return _mm256_abs_epi16(v); }
OPERATION Vec absolute_32(Vec v) { return _mm256_abs_epi32(v); }

// Sums of the products of neighboring 16-bit lanes.
OPERATION Vec products(Vec a, Vec b) { return _mm256_madd_epi16(a, b); }
OPERATION Vec add_products(Vec sum, Vec a, Vec b) { return _mm256_add_epi32(sum, products(a, b)); }

template <int kBits>
OPERATION Vec shift_right_32(Vec v) {
  return _mm256_srai_epi32(v, kBits);
}
OPERATION Vec shift_right_32(Vec v, int bits) { return _mm256_sra_epi32(v, _mm_cvtsi32_si128(bits)); }
template <int kBits>
OPERATION Vec shift_left_32(Vec v) {
  return _mm256_slli_epi32(v, kBits);
}

OPERATION Vec unpack_low_16(Vec a, Vec b) { return _mm256_unpacklo_epi16(a, b); }
OPERATION Vec unpack_high_16(Vec a, Vec b) { return _mm256_unpackhi_epi16(a, b); }
OPERATION Vec unpack_low_32(Vec a, Vec b) { return _mm256_unpacklo_epi32(a, b); }
OPERATION Vec unpack_high_32(Vec a, Vec b) { return _mm256_unpackhi_epi32(a, b); }
OPERATION Vec unpack_low_64(Vec a, Vec b) { return _mm256_unpacklo_epi64(a, b); }
OPERATION Vec unpack_high_64(Vec a, Vec b) { return _mm256_unpackhi_epi64(a, b); }
OPERATION Vec saturate(Vec low, Vec high) { return _mm256_packs_epi32(low, high); }
// Upper halves of 32-bit lanes: of `even` in even 16-bit lanes, of `odd` in odd ones.
OPERATION Vec high_halves(Vec even, Vec odd) { return _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xAA); }

// Sums of eight bytes.
OPERATION Vec sum_bytes(Vec v) { return _mm256_sad_epu8(v, zero()); }
OPERATION std::uint64_t sum_of_u64(Vec v) {
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return std::uint64_t(_mm_cvtsi128_si64(two)) + std::uint64_t(_mm_extract_epi64(two, 1));
}
OPERATION std::uint64_t sum_of_u32(Vec v) {
  return sum_of_u64(add_64(_mm256_unpacklo_epi32(v, zero()), _mm256_unpackhi_epi32(v, zero())));
}

// Lane-wise sum of the 128-bit blocks.
OPERATION __m128i sum_of_parts(Vec v) {
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

#include "row_kernels_x86.hpp"

}  // namespace

template <>
RowKernels<Samples8> avx2_kernels<Samples8>() {
  return {add_differences<Samples8>, store_differences<Samples8>, blur_and_sum<8>, sum_cells<std::int16_t>,
          round_means};
}

template <>
RowKernels<Samples14> avx2_kernels<Samples14>() {
  return {add_differences<Samples14>, store_differences<Samples14>, blur_and_sum<0>, sum_cells<std::int32_t>,
          round_means};
}

}  // namespace spatialbeam

#endif
