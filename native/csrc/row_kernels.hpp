// What is computed on one row of samples; one implementation for each instruction set.
//
// Motion is that of libvmaf's integer motion feature since 2026 (extractor "motion"): the difference of two pictures is
// blurred by a separable kernel, first down the columns, then along the rows, and its absolute values are summed. The
// older feature blurred each picture and took the difference then, which rounds differently (about 1e-4 of a luma
// unit).
#pragma once

#include <cstddef>
#include <cstdint>

namespace spatialbeam {

// The blur's taps in 1/65536.
constexpr int kTapFar = 3571;
constexpr int kTapNear = 16004;
constexpr int kTapCenter = 26386;
constexpr int kBlurRadius = 2;
constexpr int kBlurTaps = 5;

// Elements that internal rows have beyond the width, and scratch rows before it too.
constexpr int kRowPadding = 64;

// Rows are looked at in blocks of this many columns: what did not change costs a comparison only.
constexpr int kBlock = 64;
constexpr int kMaxWidth = 32768;
constexpr int block_count(int width) { return (width + kBlock - 1) / kBlock; }

// One bit for each block of a row.
constexpr int kMaxWords = block_count(kMaxWidth) / 64;
constexpr int word_count(int width) { return (block_count(width) + 63) / 64; }

// Rows are taken and blurred two at a time: their columns are loaded once for both.
constexpr int kPair = 2;
constexpr int kBlurRows = kBlurTaps + kPair - 1;

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

// One row, or two neighboring ones, of a picture and of the one before it.
template <typename Sample>
struct PictureRows {
  const Sample* now[kPair];
  const Sample* before[kPair];
  int count;
  bool compare_first;  // most blocks are likely to be as before
};

// A row of the difference of two pictures, and which of its blocks may have a value other than zero.
template <typename Difference>
struct DifferenceRow {
  Difference* values;
  std::uint64_t* changed;
};

// Rows for a kernel's own use, each with room for `width` int32.
constexpr int kScratchRows = kPair + 2;
struct Scratch {
  void* rows[kScratchRows];
};

// Rows of pictures are read up to their last sample only. All others are internal: aligned, and with padding that is
// zero at first. A step is `before` minus `now`.
template <typename Samples>
struct RowKernels {
  using Sample = typename Samples::Sample;
  using Difference = typename Samples::Difference;
  using ColumnSum = typename Samples::ColumnSum;

  // Adds the steps to the sums of their columns; returns in how many blocks any is other than zero.
  int (*add_steps)(const PictureRows<Sample>& rows, int width, ColumnSum* column_sums);

  // The same; also writes the steps to a row each, and adds to `nominal_sum` by how much the sum of the samples clamped
  // to the nominal range has grown. `differences` must hold a row already, with its `changed`.
  int (*take_steps)(const PictureRows<Sample>& rows, int width, int bit_depth, ColumnSum* column_sums,
                    const DifferenceRow<Difference>* differences, std::int64_t& nominal_sum);

  // Sum of the absolute values of `count` rows of the blurred difference, in 8-bit luma units x 256. `rows` are
  // kBlurRows rows of the difference, of which the blurred ones are the third and the fourth.
  std::uint64_t (*blur_and_sum)(const DifferenceRow<Difference>* rows, int count, int width, int bit_depth,
                                const Scratch& scratch);

  // Writes the sums of the columns in each range. `count` is a multiple of four.
  void (*sum_cells)(const ColumnSum* column_sums, const CellRange* ranges, int count, std::int32_t* cells);

  // Writes the means of cells of `rows` rows, rounded to the nearest integer and up halfway. `weights` are what one row
  // of each counts, `reciprocals` those of twice that.
  void (*round_means)(const double* sums, const double* weights, const double* reciprocals, double rows, int count,
                      std::int32_t* means);
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
