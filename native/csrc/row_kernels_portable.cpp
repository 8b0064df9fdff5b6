// Row kernels in plain C++: the definition that the vector kernels are tested against.
#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "row_kernels.hpp"

namespace spatialbeam {
namespace {

template <typename Samples>
bool take_row(const typename Samples::Sample* row, const typename Samples::Sample* previous, int width,
              typename Samples::ColumnSum* column_sums, typename Samples::Difference* difference,
              const std::uint8_t*, std::uint8_t* changed) {
  bool any_changed = false;
  for (int begin = 0; begin < width; begin += kBlock) {
    const int end = std::min(begin + kBlock, width);
    int any_step = 0;
    for (int x = begin; x < end; ++x) {
      const int step = previous[x] - row[x];
      column_sums[x] = static_cast<typename Samples::ColumnSum>(column_sums[x] + step);
      difference[x] = static_cast<typename Samples::Difference>(step);
      any_step |= step;
    }
    changed[begin / kBlock] = any_step != 0;
    any_changed |= any_step != 0;
  }
  return any_changed;
}

template <typename Samples>
std::int64_t nominal_step(const typename Samples::Sample* row, const typename Samples::Sample* previous,
                          const std::uint8_t*, int width, int bit_depth) {
  const int black = kNominalBlack << (bit_depth - 8);
  const int white = kNominalWhite << (bit_depth - 8);
  std::int64_t step = 0;
  for (int x = 0; x < width; ++x) {
    step += std::clamp<int>(row[x], black, white) - std::clamp<int>(previous[x], black, white);
  }
  return step;
}

// Right shifts of negative numbers round down, as in libvmaf (and in every compiler that this is built with).
template <typename Accumulator>
std::uint64_t blur_along_and_sum(const std::int32_t* blurred, int width) {
  std::uint64_t sum = 0;
  for (int x = 0; x < width; ++x) {
    const std::int32_t* at = blurred + x;
    const Accumulator far = Accumulator(at[-2]) + at[2];
    const Accumulator near = Accumulator(at[-1]) + at[1];
    const Accumulator blur = kTapFar * far + kTapNear * near + kTapCentre * Accumulator(at[0]);
    sum += std::abs(static_cast<std::int32_t>((blur + (1 << 15)) >> 16));
  }
  return sum;
}

template <typename Samples>
std::uint64_t blur_and_sum(const DifferenceRows<typename Samples::Difference>& rows, int width, int bit_depth,
                           const Scratch& scratch) {
  using Accumulator = std::conditional_t<std::is_same_v<Samples, Samples16>, std::int64_t, std::int32_t>;
  const Accumulator half = Accumulator(1) << (bit_depth - 1);
  auto* blurred = static_cast<std::int32_t*>(scratch.rows[0]);
  std::int32_t largest = 0;
  for (int x = 0; x < width; ++x) {
    const Accumulator far = Accumulator(rows.values[0][x]) + rows.values[4][x];
    const Accumulator near = Accumulator(rows.values[1][x]) + rows.values[3][x];
    const Accumulator blur = kTapFar * far + kTapNear * near + kTapCentre * Accumulator(rows.values[2][x]);
    blurred[x] = static_cast<std::int32_t>((blur + half) >> bit_depth);
    largest = std::max(largest, std::abs(blurred[x]));
  }
  for (int i = 1; i <= kBlurRadius; ++i) {
    blurred[-i] = blurred[reflect(-i, width)];
    blurred[width - 1 + i] = blurred[reflect(width - 1 + i, width)];
  }
  // 17 bits of value times 16 bits of taps need 64 bits, but few rows have such values.
  return largest < (1 << 15) - 1 ? blur_along_and_sum<std::int32_t>(blurred, width)
                                 : blur_along_and_sum<std::int64_t>(blurred, width);
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

}  // namespace

template <typename Samples>
RowKernels<Samples> portable_kernels() {
  return {take_row<Samples>, nominal_step<Samples>, blur_and_sum<Samples>, sum_cells<Samples>};
}

template RowKernels<Samples8> portable_kernels<Samples8>();
template RowKernels<Samples14> portable_kernels<Samples14>();
template RowKernels<Samples16> portable_kernels<Samples16>();

}  // namespace spatialbeam
