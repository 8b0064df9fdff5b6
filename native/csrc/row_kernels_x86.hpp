// Row kernels for x86-64, one source for all vector widths.
//
// Included by one source file per instruction set, in an anonymous namespace, after it has defined TARGET (the function
// attribute of the instruction set, so that no build flag is needed), the type Vec and its operations.

constexpr int kLanes16 = sizeof(Vec) / 2;
constexpr int kLanes32 = sizeof(Vec) / 4;
constexpr int kLine = 64;  // bytes of a cache line

#define INLINE TARGET __attribute__((always_inline))

// A pair of 16-bit factors, repeated.
INLINE inline Vec factors(int first, int second) {
  return set_all_32(static_cast<int>((std::uint32_t(second) << 16) | (std::uint32_t(first) & 0xffff)));
}

// Mask of the 16-bit lanes whose column is before `end`.
INLINE inline Vec columns_before(int end, int x) { return greater_16(set_all_16(end - x), lane_numbers_16()); }

struct Widened {
  Vec low;
  Vec high;
};

#include "row_steps_x86.hpp"
#include "row_blur_x86.hpp"

INLINE inline Vec cell_of(const std::int16_t* column_sums, CellRange range) {
  const Vec one = set_all_16(1);
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes16 <= range.end; x += kLanes16) sum = add_products(sum, load(column_sums + x), one);
  return add_products(sum, bit_and(load(column_sums + x), columns_before(range.end, x)), one);
}

INLINE inline Vec cell_of(const std::int32_t* column_sums, CellRange range) {
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes32 <= range.end; x += kLanes32) sum = add_32(sum, load(column_sums + x));
  const Vec valid = greater_32(set_all_32(range.end - x), lane_numbers_32());
  return add_32(sum, bit_and(load(column_sums + x), valid));
}

// Horizontal sums of four vectors, by transposition in 128-bit blocks.
INLINE inline __m128i four_sums(Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = add_32(unpack_low_32(a, b), unpack_high_32(a, b));
  const Vec cd = add_32(unpack_low_32(c, d), unpack_high_32(c, d));
  return sum_of_parts(add_32(unpack_low_64(ab, cd), unpack_high_64(ab, cd)));
}

template <typename ColumnSum>
TARGET void sum_cells(const ColumnSum* column_sums, const CellRange* ranges, int count, std::int32_t* cells) {
  for (int i = 0; i < count; i += 4) {
    const __m128i sums = four_sums(cell_of(column_sums, ranges[i]), cell_of(column_sums, ranges[i + 1]),
                                   cell_of(column_sums, ranges[i + 2]), cell_of(column_sums, ranges[i + 3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(cells + i), sums);
  }
}

// Same code as the portable kernel, vectorized by the compiler for the target.
TARGET void round_means(const double* sums, const double* weights, const double* reciprocals, double rows, int count,
                        std::int32_t* __restrict means) {
  const double rows_reciprocal = 1 / rows;
  for (int i = 0; i < count; ++i) {
    const double mean = (2 * sums[i] + rows * weights[i] + 0.5) * (reciprocals[i] * rows_reciprocal);
    means[i] = static_cast<std::int32_t>(mean < 255.0 ? mean : 255.0);
  }
}

#undef INLINE
