// What is computed on one row of samples; one implementation for each instruction set.
//
// Motion is that of libvmaf's integer motion feature since 2026 (extractor "motion"): the difference of two pictures is
// blurred by a separable kernel, first down the columns, then along the rows, and its absolute values are summed. The
// older feature blurred each picture and took the difference then, which rounds differently (about 1e-4 of a luma unit).
#pragma once

#include <cstddef>
#include <cstdint>

namespace spatialbeam {

// The blur's taps in 1/65536.
constexpr int kTapFar = 3571;
constexpr int kTapNear = 16004;
constexpr int kTapCentre = 26386;
constexpr int kBlurRadius = 2;
constexpr int kBlurTaps = 5;

// Elements that internal rows have beyond the width, and scratch rows before it too.
constexpr int kRowPadding = 64;

// Rows are looked at in blocks of this many columns: what did not change costs a comparison only.
constexpr int kBlock = 64;
constexpr int kMaxWidth = 32768;
constexpr int block_count(int width) { return (width + kBlock - 1) / kBlock; }

// Video's nominal luma range, in 8-bit code units.
constexpr int kNominalBlack = 16;
constexpr int kNominalWhite = 235;

// Rows whose steps a column may sum up: a cell's sum then fits 32 bits with a sign for any depth and width.
constexpr int kMaxSummedRows = 32;

// The samples [begin, end) of a side that a cell of the thumbnail covers; at least one.
struct CellRange {
  int begin;
  int end;
  bool operator==(const CellRange& other) const { return begin == other.begin && end == other.end; }
};

// Where samples go on: the first one is not repeated before the start, the last one not after the end. Sides too short
// for that, which libvmaf does not define, are clamped.
inline int reflect(int i, int size) {
  if (i < 0) i = -i;
  if (i >= size) i = 2 * size - 2 - i;
  return i < 0 ? 0 : (i < size ? i : size - 1);
}

// Samples of 8 bits; of 9 to 14 bits, whose differences and their sums of two fit 16 bits; of 15 and 16 bits.
struct Samples8 {
  using Sample = std::uint8_t;
  using Difference = std::int16_t;
  using ColumnSum = std::int16_t;
};
struct Samples14 {
  using Sample = std::uint16_t;
  using Difference = std::int16_t;
  using ColumnSum = std::int32_t;
};
struct Samples16 {
  using Sample = std::uint16_t;
  using Difference = std::int32_t;
  using ColumnSum = std::int32_t;
};

// Five rows of a difference, and for each which of its blocks have a value other than zero (bytes, zeros behind them).
template <typename Difference>
struct DifferenceRows {
  const Difference* values[kBlurTaps];
  const std::uint8_t* changed[kBlurTaps];
};

// Rows for a kernel's own use, each with room for `width` int32.
struct Scratch {
  void* rows[3];
};

// `row` and `previous` are rows of pictures, read up to their last sample only. All others are internal: aligned, and with
// padding that is zero at first.
template <typename Samples>
struct RowKernels {
  using Sample = typename Samples::Sample;
  using Difference = typename Samples::Difference;
  using ColumnSum = typename Samples::ColumnSum;

  // Writes `previous` minus `row`, adds it to the sums of its columns, and writes for each block whether it has a value
  // other than zero; returns whether any has. `changed` must tell so of what `difference` held before; `changed_above`,
  // which may be the same, is what was written for the row above.
  bool (*take_row)(const Sample* row, const Sample* previous, int width, ColumnSum* column_sums, Difference* difference,
                   const std::uint8_t* changed_above, std::uint8_t* changed);

  // By how much the sum of the samples clamped to the nominal range is greater in `row` than in `previous`, of which
  // `changed` tells the blocks that differ.
  std::int64_t (*nominal_step)(const Sample* row, const Sample* previous, const std::uint8_t* changed, int width,
                               int bit_depth);

  // Sum of the absolute values of a row of the blurred difference, in 8-bit luma units x 256, from the five rows of the
  // difference around it.
  std::uint64_t (*blur_and_sum)(const DifferenceRows<Difference>& rows, int width, int bit_depth,
                                const Scratch& scratch);

  // Writes the sums of the columns in each range. `count` is a multiple of four.
  void (*sum_cells)(const ColumnSum* column_sums, const CellRange* ranges, int count, std::int32_t* cells);
};

template <typename Samples>
RowKernels<Samples> portable_kernels();

#if defined(__x86_64__)
#define SPATIALBEAM_HAS_X86_KERNELS 1
template <typename Samples>
RowKernels<Samples> avx2_kernels();
template <typename Samples>
RowKernels<Samples> avx512_kernels();
#endif

}  // namespace spatialbeam
