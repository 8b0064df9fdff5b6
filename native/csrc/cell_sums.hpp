// Exact box means of a plane on the thumbnail's grid, from sums of its columns.
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

// Takes the rows of one plane in order (the caller adds each to `columns()`, then calls `end_row`), writes the
// cells of one channel of the thumbnail and keeps the plane's total. Distinct row ranges of cells never overlap and
// leave out no row; where the plane has fewer rows than the thumbnail, neighbouring cells share a range.
template <typename Samples>
class CellSums {
 public:
  using Sum = typename Samples::ColumnSum;

  CellSums(int width, int height, int bit_depth, const RowKernels<Samples>& kernels)
      : width_(width),
        height_(height),
        unit_(1 << (bit_depth - 8)),
        add_cells_(kernels.add_cells),
        columns_(1, width, kRowPadding) {
    for (int i = 0; i < kThumbnailWidth; ++i) {
      ranges_[i] = cell_range(i, kThumbnailWidth, width);
      row_weights_[i] = double(ranges_[i].end - ranges_[i].begin) * unit_;
      reciprocals_[i] = 1 / (2 * row_weights_[i]);
    }
  }

  void begin_plane() {
    totals_.fill(0.0);
    next_cell_ = 0;
    begin_cell_row();
  }

  Sum* columns() { return columns_[0]; }

  void end_row(int y, std::uint8_t* thumbnail_channel) {
    ++summed_rows_;
    const bool ends_cell = y + 1 == row_range_.end;
    if (ends_cell || summed_rows_ == kMaxSummedRows) gather_columns();
    if (ends_cell) write_cells(thumbnail_channel);
  }

  // Mean of the samples in 8-bit code units.
  double mean() const {
    double total = 0;  // exact: below 2^53
    for (int i = 0; i < kThumbnailWidth; ++i) {
      // Cells of a narrow plane share columns, which count once.
      if (i == 0 || !(ranges_[i] == ranges_[i - 1])) total += totals_[i];
    }
    return total / (double(width_) * height_ * unit_);
  }

 private:
  void begin_cell_row() {
    row_range_ = cell_range(next_cell_, kThumbnailHeight, height_);
    cells_.fill(0.0);
    summed_rows_ = 0;
  }

  void gather_columns() {
    add_cells_(columns_[0], ranges_.data(), kThumbnailWidth, cells_.data());
    std::fill_n(columns_[0], width_, Sum(0));
    summed_rows_ = 0;
  }

  // A mean is (2 sum + weight) / (2 weight), rounded down. With one half added, which changes no such quotient of
  // integers, it is far enough from the next integer for the product with a rounded reciprocal to be exact.
  void write_cells(std::uint8_t* thumbnail_channel) {
    std::array<int, kThumbnailWidth> means;
    const double rows = row_range_.end - row_range_.begin;
    const double rows_reciprocal = 1 / rows;
    for (int i = 0; i < kThumbnailWidth; ++i) {
      const double mean = (2 * cells_[i] + rows * row_weights_[i] + 0.5) * (reciprocals_[i] * rows_reciprocal);
      means[i] = static_cast<int>(std::min(mean, 255.0));
      totals_[i] += cells_[i];
    }
    const CellRange written = row_range_;
    do {
      std::uint8_t* out = thumbnail_channel + std::ptrdiff_t(next_cell_) * kThumbnailWidth * 3;
      for (int i = 0; i < kThumbnailWidth; ++i) out[3 * i] = static_cast<std::uint8_t>(means[i]);
      ++next_cell_;
    } while (next_cell_ < kThumbnailHeight && written == cell_range(next_cell_, kThumbnailHeight, height_));
    if (next_cell_ < kThumbnailHeight) begin_cell_row();
  }

  int width_;
  int height_;
  int unit_;
  void (*add_cells_)(const Sum*, const CellRange*, int, double*);
  AlignedRows<Sum> columns_;
  std::array<CellRange, kThumbnailWidth> ranges_;
  std::array<double, kThumbnailWidth> row_weights_;  // a cell's samples in one row, in 8-bit code units
  std::array<double, kThumbnailWidth> reciprocals_;
  std::array<double, kThumbnailWidth> cells_{};   // sums of the rows so far
  std::array<double, kThumbnailWidth> totals_{};  // sums of the whole columns of cells
  CellRange row_range_{};
  int next_cell_ = 0;
  int summed_rows_ = 0;
};

}  // namespace spatialbeam
