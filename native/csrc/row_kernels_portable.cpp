// Row kernels in plain C++: the reference that the vector kernels are tested against.
#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "row_kernels.hpp"

namespace spatialbeam {
namespace {

// Changes are tracked per row, not per block.
template <typename Samples>
int add_differences(const RowPair<typename Samples::Sample>& rows, int width,
                    typename Samples::ColumnSum* column_sums) {
  int any_difference = 0;
  for (int i = 0; i < rows.count; ++i) {
    for (int x = 0; x < width; ++x) {
      const int difference = rows.previous[i][x] - rows.current[i][x];
      column_sums[x] = static_cast<typename Samples::ColumnSum>(column_sums[x] + difference);
      any_difference |= difference;
    }
  }
  return any_difference != 0 ? block_count(width) : 0;
}

template <typename Samples>
int store_differences(const RowPair<typename Samples::Sample>& rows, int width, int bit_depth,
                      typename Samples::ColumnSum* column_sums,
                      const DifferenceRow<typename Samples::Difference>* differences, std::int64_t& nominal_sum) {
  const int black = kNominalBlack << (bit_depth - 8);
  const int white = kNominalWhite << (bit_depth - 8);
  const int changed_blocks = add_differences<Samples>(rows, width, column_sums);
  for (int i = 0; i < rows.count; ++i) {
    std::fill_n(differences[i].changed, word_count(width), changed_blocks != 0 ? ~std::uint64_t(0) : 0);
    for (int x = 0; x < width; ++x) {
      const int current = rows.current[i][x];
      const int previous = rows.previous[i][x];
      differences[i].values[x] = static_cast<typename Samples::Difference>(previous - current);
      nominal_sum += std::clamp(current, black, white) - std::clamp(previous, black, white);
    }
  }
  return changed_blocks;
}

// Right shifts of negative numbers round down, as in libvmaf (and with all supported compilers).
template <typename Accumulator>
std::uint64_t blur_horizontal_and_sum(const std::int32_t* blurred, int width) {
  std::uint64_t sum = 0;
  for (int x = 0; x < width; ++x) {
    const std::int32_t* at = blurred + x;
    const Accumulator far = Accumulator(at[-2]) + at[2];
    const Accumulator near = Accumulator(at[-1]) + at[1];
    const Accumulator blur = kTapFar * far + kTapNear * near + kTapCenter * Accumulator(at[0]);
    sum += std::abs(static_cast<std::int32_t>((blur + (1 << 15)) >> 16));
  }
  return sum;
}

template <typename Samples>
std::uint64_t blur_and_sum(const DifferenceRow<typename Samples::Difference>* rows, int count, int width, int bit_depth,
                           const Scratch& scratch) {
  using Accumulator = std::conditional_t<std::is_same_v<Samples, Samples16>, std::int64_t, std::int32_t>;
  const Accumulator half = Accumulator(1) << (bit_depth - 1);
  auto* blurred = static_cast<std::int32_t*>(scratch.rows[0]);
  const auto any_changed = [&](int row) {
    return std::any_of(rows[row].changed, rows[row].changed + word_count(width), [](auto word) { return word != 0; });
  };
  std::uint64_t sum = 0;
  for (int i = 0; i < count; ++i, ++rows) {
    if (!any_changed(0) && !any_changed(1) && !any_changed(2) && !any_changed(3) && !any_changed(4)) continue;
    std::int32_t largest = 0;
    for (int x = 0; x < width; ++x) {
      const Accumulator far = Accumulator(rows[0].values[x]) + rows[4].values[x];
      const Accumulator near = Accumulator(rows[1].values[x]) + rows[3].values[x];
      const Accumulator blur = kTapFar * far + kTapNear * near + kTapCenter * Accumulator(rows[2].values[x]);
      blurred[x] = static_cast<std::int32_t>((blur + half) >> bit_depth);
      largest = std::max(largest, std::abs(blurred[x]));
    }
    for (int reach = 1; reach <= kBlurRadius; ++reach) {
      blurred[-reach] = blurred[reflect(-reach, width)];
      blurred[width - 1 + reach] = blurred[reflect(width - 1 + reach, width)];
    }
    // 17-bit values times 16-bit taps need 64 bits, but are rare.
    sum += largest < (1 << 15) - 1 ? blur_horizontal_and_sum<std::int32_t>(blurred, width)
                                   : blur_horizontal_and_sum<std::int64_t>(blurred, width);
  }
  return sum;
}

template <typename Samples>
void sum_cells(const typename Samples::ColumnSum* column_sums, const CellRange* ranges, int count,
               std::int32_t* cells) {
  for (int i = 0; i < count; ++i) {
    std::int32_t sum = 0;
    for (int x = ranges[i].begin; x < ranges[i].end; ++x) sum += column_sums[x];
    cells[i] = sum;
  }
}

// A mean is floor((2 sum + weight) / (2 weight)). Adding one half to the numerator does not change the floor of a
// quotient of integers, and keeps it far enough from the next integer for the product with a rounded reciprocal to be
// exact.
void round_means(const double* sums, const double* weights, const double* reciprocals, double rows, int count,
                 std::int32_t* means) {
  const double rows_reciprocal = 1 / rows;
  for (int i = 0; i < count; ++i) {
    const double mean = (2 * sums[i] + rows * weights[i] + 0.5) * (reciprocals[i] * rows_reciprocal);
    means[i] = static_cast<std::int32_t>(mean < 255.0 ? mean : 255.0);
  }
}

}  // namespace

template <typename Samples>
RowKernels<Samples> portable_kernels() {
  return {add_differences<Samples>, store_differences<Samples>, blur_and_sum<Samples>, sum_cells<Samples>, round_means};
}

template RowKernels<Samples8> portable_kernels<Samples8>();
template RowKernels<Samples14> portable_kernels<Samples14>();
template RowKernels<Samples16> portable_kernels<Samples16>();

}  // namespace spatialbeam
