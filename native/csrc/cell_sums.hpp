// Exact box means of a plane for one thumbnail channel, updated from frame differences.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "aligned_rows.hpp"
#include "frame_stats.hpp"
#include "row_kernels.hpp"

namespace spatialbeam {

inline CellRange cell_range(int index, int cells, int size) {
  const auto at = [&](std::int64_t i) { return static_cast<int>(i * size / cells); };
  return {at(index), std::max(at(index + 1), at(index) + 1)};
}

// Updates the cells of a thumbnail channel and the plane's total from differences to the previous frame, row by row:
// the caller adds rows to `columns()`, then calls `end_rows`. The first frame is a difference to zeros. Row ranges of
// cells partition the plane; if it has fewer rows than the thumbnail, neighboring cells share a range.
template <typename Samples>
class CellSums {
 public:
  using Sum = typename Samples::ColumnSum;

  CellSums(int width, int height, int bit_depth, const RowKernels<Samples>& kernels)
      : width_(width),
        height_(height),
        unit_(1 << (bit_depth - 8)),
        sum_cells_(kernels.sum_cells),
        round_means_(kernels.round_means),
        columns_(1, width, kRowPadding) {
    for (int i = 0; i < kThumbnailWidth; ++i) {
      ranges_[i] = cell_range(i, kThumbnailWidth, width);
      row_weights_[i] = double(ranges_[i].end - ranges_[i].begin) * unit_;
      reciprocals_[i] = 1 / (2 * row_weights_[i]);
    }
    for (int i = 0; i < kThumbnailHeight; ++i) row_ranges_[i] = cell_range(i, kThumbnailHeight, height);
  }

  // Sets all samples to zero.
  void reset() {
    for (auto& row : cells_) row.fill(0.0);
    total_ = 0;
  }

  void begin_plane() {
    cell_row_ = 0;
    reset_counters();
  }

  Sum* columns() { return columns_[0]; }

  // Number of rows from y on that may be added before `end_rows`.
  int rows_to_add(int y) const { return std::min(kPair, row_ranges_[cell_row_].end - y); }

  // The `count` rows before row `end` have been added; writes the cells that are complete and have changed.
  void end_rows(int end, int count, bool changed, std::uint8_t* thumbnail_channel) {
    columns_changed_ |= changed;
    summed_rows_ += count;
    const bool ends_cell = end == row_ranges_[cell_row_].end;
    if (columns_changed_ && (ends_cell || summed_rows_ + kPair > kMaxSummedRows)) flush_columns();
    if (ends_cell) end_cell_row(thumbnail_channel);
  }

  // Mean of the samples in 8-bit code values.
  double mean() const { return double(total_) / (double(width_) * height_ * unit_); }

 private:
  void reset_counters() {
    cells_changed_ = columns_changed_ = false;
    summed_rows_ = 0;
  }

  // Differences are previous minus current.
  void flush_columns() {
    std::array<std::int32_t, kThumbnailWidth> differences;
    sum_cells_(columns_[0], ranges_.data(), kThumbnailWidth, differences.data());
    std::fill_n(columns_[0], width_, Sum(0));
    for (int i = 0; i < kThumbnailWidth; ++i) {
      cells_[cell_row_][i] -= differences[i];
      // Cells of a narrow plane share columns, which are counted once.
      if (i == 0 || !(ranges_[i] == ranges_[i - 1])) total_ -= differences[i];
    }
    cells_changed_ = true;
    columns_changed_ = false;
    summed_rows_ = 0;
  }

  void end_cell_row(std::uint8_t* thumbnail_channel) {
    const int first = cell_row_;
    const int rows = row_ranges_[first].end - row_ranges_[first].begin;
    do {
      if (cells_changed_) write_cells(first, rows, thumbnail_channel + std::ptrdiff_t(cell_row_) * kThumbnailWidth * 3);
      ++cell_row_;
    } while (cell_row_ < kThumbnailHeight && row_ranges_[cell_row_] == row_ranges_[first]);
    reset_counters();
  }

  void write_cells(int row, double rows, std::uint8_t* out) const {
    std::array<std::int32_t, kThumbnailWidth> means;
    round_means_(cells_[row].data(), row_weights_.data(), reciprocals_.data(), rows, kThumbnailWidth, means.data());
    for (int i = 0; i < kThumbnailWidth; ++i) out[3 * i] = static_cast<std::uint8_t>(means[i]);
  }

  using CellRow = std::array<double, kThumbnailWidth>;

  int width_;
  int height_;
  int unit_;
  decltype(RowKernels<Samples>::sum_cells) sum_cells_;
  decltype(RowKernels<Samples>::round_means) round_means_;
  AlignedRows<Sum> columns_;  // summed over rows since the last flush
  std::array<CellRange, kThumbnailWidth> ranges_;
  std::array<CellRange, kThumbnailHeight> row_ranges_;
  CellRow row_weights_;  // samples per row of a cell, times the unit
  CellRow reciprocals_;
  std::array<CellRow, kThumbnailHeight> cells_{};  // sums; of cells that share rows, only the first
  std::int64_t total_ = 0;
  int cell_row_ = 0;
  int summed_rows_ = 0;
  bool columns_changed_ = false;
  bool cells_changed_ = false;
};

}  // namespace spatialbeam
