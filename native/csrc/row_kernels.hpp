// Kernels on rows of samples; one implementation per instruction set.
//
// Motion is libvmaf's integer motion feature as of 2026 (extractor "motion"): the difference of two frames is blurred
// by a separable kernel, first vertically, then horizontally, and its absolute values are summed. Older releases blur
// both frames before the subtraction, which rounds differently (about 1e-4 of a luma code value).
#pragma once

#include <cstddef>
#include <cstdint>

namespace spatialbeam {

// Filter taps in 1/65536.
constexpr int kTapFar = 3571;
constexpr int kTapNear = 16004;
constexpr int kTapCenter = 26386;
constexpr int kBlurRadius = 2;
constexpr int kBlurTaps = 5;

// Padding elements after internal rows, and also before scratch rows.
constexpr int kRowPadding = 64;

// Rows are processed in blocks of this many columns: an unchanged block costs a comparison only.
constexpr int kBlock = 64;
constexpr int kMaxWidth = 32768;
constexpr int block_count(int width) { return (width + kBlock - 1) / kBlock; }

// One bit per block of a row.
constexpr int kMaxWords = block_count(kMaxWidth) / 64;
constexpr int word_count(int width) { return (block_count(width) + 63) / 64; }

// Rows are processed in pairs, so that the blur loads each column once for both.
constexpr int kPair = 2;
constexpr int kBlurRows = kBlurTaps + kPair - 1;

// Nominal luma range of limited color range, in 8-bit code values.
constexpr int kNominalBlack = 16;
constexpr int kNominalWhite = 235;

// Maximum number of rows in a column sum: a cell's sum then fits int32 for any bit depth and width.
constexpr int kMaxSummedRows = 32;

// The samples [begin, end) that a thumbnail cell covers along one axis; at least one.
struct CellRange {
  int begin;
  int end;
  bool operator==(const CellRange& other) const { return begin == other.begin && end == other.end; }
};

// Reflected border (without repeating the border sample, as BORDER_REFLECT_101). Sides too short for that, which
// libvmaf does not define, are clamped.
inline int reflect(int i, int size) {
  if (i < 0) i = -i;
  if (i >= size) i = 2 * size - 2 - i;
  return i < 0 ? 0 : (i < size ? i : size - 1);
}

// Samples of 8 bits; of 9 to 14 bits, whose differences and sums of two differences fit int16; of 15 and 16 bits.
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

// One row, or two neighboring rows, of a frame and of the previous one.
template <typename Sample>
struct RowPair {
  const Sample* current[kPair];
  const Sample* previous[kPair];
  int count;
  bool compare_first;  // most blocks are expected to be unchanged
};

// A row of the difference of two frames, and a bit mask of its blocks that may be nonzero.
template <typename Difference>
struct DifferenceRow {
  Difference* values;
  std::uint64_t* changed;
};

// Temporary rows, each with room for `width` int32.
constexpr int kScratchRows = kPair + 2;
struct Scratch {
  void* rows[kScratchRows];
};

// Rows of frames are never read past their last sample. All others are internal: aligned, with zero-initialized
// padding. Differences are `previous` minus `current`.
template <typename Samples>
struct RowKernels {
  using Sample = typename Samples::Sample;
  using Difference = typename Samples::Difference;
  using ColumnSum = typename Samples::ColumnSum;

  // Adds the differences to the column sums; returns the number of blocks with a nonzero difference.
  int (*add_differences)(const RowPair<Sample>& rows, int width, ColumnSum* column_sums);

  // Also stores the differences of each row, and adds the change of the sum of samples clamped to the nominal range to
  // `nominal_sum`. `differences` must hold earlier rows with valid `changed`.
  int (*store_differences)(const RowPair<Sample>& rows, int width, int bit_depth, ColumnSum* column_sums,
                           const DifferenceRow<Difference>* differences, std::int64_t& nominal_sum);

  // Sum of absolute values of `count` blurred rows, in 8-bit code values x 256. `rows` are kBlurRows rows of the
  // difference; the third and the fourth are blurred.
  std::uint64_t (*blur_and_sum)(const DifferenceRow<Difference>* rows, int count, int width, int bit_depth,
                                const Scratch& scratch);

  // Sums the columns in each range. `count` is a multiple of four.
  void (*sum_cells)(const ColumnSum* column_sums, const CellRange* ranges, int count, std::int32_t* cells);

  // Means of cells of `rows` rows, rounded half up. `weights` are the weights of one row, `reciprocals` 1 / (2 weight).
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
