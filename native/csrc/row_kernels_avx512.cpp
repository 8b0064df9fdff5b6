// Row kernels for x86-64 processors with AVX-512 as of Ice Lake and Zen 4: operations on vectors of 512 bits.
#include "row_kernels.hpp"

#ifdef SPATIALBEAM_HAS_X86_KERNELS

#include <immintrin.h>

#include <cstring>

#if defined(__GNUC__) && !defined(__clang__)
// GCC before 13 warns of its own header, where "undefined" values are variables that are set to themselves.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define TARGET __attribute__((target("avx512bw,avx512vnni")))
#define OPERATION TARGET __attribute__((always_inline)) inline

namespace spatialbeam {
namespace {

using Vec = __m512i;

OPERATION Vec load(const void* from) { return _mm512_loadu_si512(from); }
OPERATION void store(void* to, Vec v) { _mm512_storeu_si512(to, v); }
OPERATION __m256i load_half(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
OPERATION Vec load_u8_as_u16(const void* from) { return _mm512_cvtepu8_epi16(load_half(from)); }

OPERATION Vec low_i16_as_i32(Vec v) { return _mm512_cvtepi16_epi32(_mm512_castsi512_si256(v)); }
OPERATION Vec high_i16_as_i32(Vec v) { return _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(v, 1)); }

OPERATION Vec zero() { return _mm512_setzero_si512(); }
OPERATION Vec set_all_8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
OPERATION Vec set_all_16(int v) { return _mm512_set1_epi16(static_cast<short>(v)); }
OPERATION Vec set_all_32(int v) { return _mm512_set1_epi32(v); }
OPERATION Vec lane_numbers_16() {
  return _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8,
                          7, 6, 5, 4, 3, 2, 1, 0);
}
OPERATION Vec lane_numbers_32() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

OPERATION Vec bit_or(Vec a, Vec b) { return _mm512_or_si512(a, b); }
OPERATION Vec bit_and(Vec a, Vec b) { return _mm512_and_si512(a, b); }
OPERATION Vec bit_xor(Vec a, Vec b) { return _mm512_xor_si512(a, b); }
OPERATION bool is_zero(Vec v) { return _mm512_test_epi32_mask(v, v) == 0; }

OPERATION Vec add_16(Vec a, Vec b) { return _mm512_add_epi16(a, b); }
OPERATION Vec add_32(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
OPERATION Vec add_64(Vec a, Vec b) { return _mm512_add_epi64(a, b); }
OPERATION Vec subtract_16(Vec a, Vec b) { return _mm512_sub_epi16(a, b); }
OPERATION Vec min_u8(Vec a, Vec b) { return _mm512_min_epu8(a, b); }
OPERATION Vec max_u8(Vec a, Vec b) { return _mm512_max_epu8(a, b); }
OPERATION Vec min_u16(Vec a, Vec b) { return _mm512_min_epu16(a, b); }
OPERATION Vec max_u16(Vec a, Vec b) { return _mm512_max_epu16(a, b); }
OPERATION Vec min_16(Vec a, Vec b) { return _mm512_min_epi16(a, b); }
OPERATION Vec max_16(Vec a, Vec b) { return _mm512_max_epi16(a, b); }
OPERATION bool any_equal_16(Vec a, Vec b) { return _mm512_cmpeq_epi16_mask(a, b) != 0; }
OPERATION Vec greater_16(Vec a, Vec b) { return _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(a, b)); }
OPERATION Vec greater_32(Vec a, Vec b) { return _mm512_maskz_set1_epi32(_mm512_cmpgt_epi32_mask(a, b), -1); }
OPERATION Vec absolute_16(Vec v) { return _mm512_abs_epi16(v); }
OPERATION Vec absolute_32(Vec v) { return _mm512_abs_epi32(v); }

// Sums of the products of neighboring 16-bit lanes.
OPERATION Vec products(Vec a, Vec b) { return _mm512_madd_epi16(a, b); }
OPERATION Vec add_products(Vec sum, Vec a, Vec b) { return _mm512_dpwssd_epi32(sum, a, b); }

template <int kBits>
OPERATION Vec shift_right_32(Vec v) {
  return _mm512_srai_epi32(v, kBits);
}
OPERATION Vec shift_right_32(Vec v, int bits) { return _mm512_sra_epi32(v, _mm_cvtsi32_si128(bits)); }
template <int kBits>
OPERATION Vec shift_left_32(Vec v) {
  return _mm512_slli_epi32(v, kBits);
}

OPERATION Vec unpack_low_16(Vec a, Vec b) { return _mm512_unpacklo_epi16(a, b); }
OPERATION Vec unpack_high_16(Vec a, Vec b) { return _mm512_unpackhi_epi16(a, b); }
OPERATION Vec unpack_low_32(Vec a, Vec b) { return _mm512_unpacklo_epi32(a, b); }
OPERATION Vec unpack_high_32(Vec a, Vec b) { return _mm512_unpackhi_epi32(a, b); }
OPERATION Vec unpack_low_64(Vec a, Vec b) { return _mm512_unpacklo_epi64(a, b); }
OPERATION Vec unpack_high_64(Vec a, Vec b) { return _mm512_unpackhi_epi64(a, b); }
OPERATION Vec saturate(Vec low, Vec high) { return _mm512_packs_epi32(low, high); }
// Upper halves of 32-bit lanes: of `even` in even 16-bit lanes, of `odd` in odd ones.
OPERATION Vec high_halves(Vec even, Vec odd) {
  return _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(even, 16), odd);
}

// Sums of eight bytes.
OPERATION Vec sum_bytes(Vec v) { return _mm512_sad_epu8(v, zero()); }
OPERATION std::uint64_t sum_of_u64(Vec v) { return static_cast<std::uint64_t>(_mm512_reduce_add_epi64(v)); }
OPERATION std::uint64_t sum_of_u32(Vec v) {
  return sum_of_u64(add_64(_mm512_unpacklo_epi32(v, zero()), _mm512_unpackhi_epi32(v, zero())));
}

// Lane-wise sum of the 128-bit blocks.
OPERATION __m128i sum_of_parts(Vec v) {
  const __m256i two = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

#include "row_kernels_x86.hpp"

}  // namespace

template <>
RowKernels<Samples8> avx512_kernels<Samples8>() {
  return {add_differences<Samples8>, store_differences<Samples8>, blur_and_sum<8>, sum_cells<std::int16_t>,
          round_means};
}

template <>
RowKernels<Samples14> avx512_kernels<Samples14>() {
  return {add_differences<Samples14>, store_differences<Samples14>, blur_and_sum<0>, sum_cells<std::int32_t>,
          round_means};
}

}  // namespace spatialbeam

#endif
