#include "frame_stats.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <type_traits>

#include "aligned_rows.hpp"
#include "cell_sums.hpp"
#include "row_kernels.hpp"

namespace spatialbeam {
namespace {

template <typename Samples>
const typename Samples::Sample* row_of(PlaneView plane, int y) {
  return reinterpret_cast<const typename Samples::Sample*>(plane.data + y * plane.stride_bytes);
}

template <typename Samples>
RowPair<typename Samples::Sample> rows_of(PlaneView current, PlaneView previous, int y, int count, bool compare_first) {
  const int last = y + count - 1;
  return {{row_of<Samples>(current, y), row_of<Samples>(current, last)},
          {row_of<Samples>(previous, y), row_of<Samples>(previous, last)},
          count,
          compare_first};
}

// Whether so few blocks have changed that comparing the next rows first is faster.
bool is_sparse_change(int changed_blocks, int width) { return 4 * changed_blocks < 3 * block_count(width); }

// Mean and thumbnail channel of a chroma plane.
template <typename Samples>
class ChromaAnalyzer {
 public:
  ChromaAnalyzer(int width, int height, int bit_depth, const RowKernels<Samples>& kernels)
      : width_(width),
        height_(height),
        add_differences_(kernels.add_differences),
        cells_(width, height, bit_depth, kernels) {}

  double push(PlaneView plane, PlaneView previous, std::uint8_t* thumbnail_channel) {
    cells_.begin_plane();
    for (int y = 0, count; y < height_; y += count) {
      count = cells_.rows_to_add(y);
      const auto rows = rows_of<Samples>(plane, previous, y, count, is_sparse_change(changed_blocks_, width_));
      changed_blocks_ = add_differences_(rows, width_, cells_.columns());
      cells_.end_rows(y + count, count, changed_blocks_ != 0, thumbnail_channel);
    }
    return cells_.mean();
  }

  void reset() { cells_.reset(); }

 private:
  int width_;
  int height_;
  decltype(RowKernels<Samples>::add_differences) add_differences_;
  CellSums<Samples> cells_;
  int changed_blocks_ = 0;  // in the last rows
};

// All statistics are updated from differences to the previous frame, so that static content costs little; the first
// frame is a difference to zeros.
template <typename Samples>
class RowFusedAnalyzer : public FrameAnalyzer {
  using Difference = typename Samples::Difference;
  using Chroma = ChromaAnalyzer<Samples>;

 public:
  RowFusedAnalyzer(const FrameFormat& format, const RowKernels<Samples>& kernels)
      : format_(format),
        kernels_(kernels),
        luma_(format.width, format.height, format.bit_depth, kernels),
        differences_(kHeldRows, format.width, kRowPadding),
        scratch_rows_(kScratchRows, format.width, kRowPadding),
        zeros_(1, format.width, 0) {
    const int width = std::max(format.chroma_width, 1);
    const int height = std::max(format.chroma_height, 1);
    for (auto& chroma : chroma_) chroma = std::make_unique<Chroma>(width, height, format.bit_depth, kernels);
    reset();
  }

  FrameStatValues push(PlaneView y, PlaneView u, PlaneView v, std::uint8_t* thumbnail) override {
    FrameStatValues values;
    push_luma(y, values);
    if (format_.has_chroma()) {
      values.u_mean = chroma_[0]->push(u, previous_or_zeros(previous_[1]), &thumbnail_[1]);
      values.v_mean = chroma_[1]->push(v, previous_or_zeros(previous_[2]), &thumbnail_[2]);
    }
    previous_ = {y, u, v};
    std::copy(thumbnail_.begin(), thumbnail_.end(), thumbnail);
    return values;
  }

  void reset() override {
    previous_ = {};
    nominal_sum_ = std::int64_t(kNominalBlack) * format_.unit() * format_.width * format_.height;
    luma_.reset();
    for (auto& chroma : chroma_) chroma->reset();
    const std::uint8_t no_chroma = format_.has_chroma() ? 0 : 128;
    for (std::size_t i = 0; i < thumbnail_.size(); ++i) thumbnail_[i] = i % 3 == 0 ? 0 : no_chroma;
  }

 private:
  bool is_first() const { return previous_[0].data == nullptr; }

  PlaneView previous_or_zeros(PlaneView previous) {
    return is_first() ? PlaneView{reinterpret_cast<const std::uint8_t*>(zeros_[0]), 0} : previous;
  }

  // Single pass: each row is fully processed while it is in the L1 cache.
  void push_luma(PlaneView plane, FrameStatValues& values) {
    const int height = format_.height;
    const PlaneView previous = previous_or_zeros(previous_[0]);
    std::uint64_t motion_sum = 0;
    int blurred = 0;
    luma_.begin_plane();
    for (int y = 0, count; y < height; y += count) {
      count = luma_.rows_to_add(y);
      const auto rows = rows_of<Samples>(plane, previous, y, count, is_sparse_change(changed_blocks_, format_.width));
      const DifferenceRow<Difference> differences[] = {difference_row(y), difference_row(y + 1)};
      changed_blocks_ = kernels_.store_differences(rows, format_.width, format_.bit_depth, luma_.columns(), differences,
                                                   nominal_sum_);
      luma_.end_rows(y + count, count, changed_blocks_ != 0, &thumbnail_[0]);
      const int complete = y + count < height ? y + count - kBlurRadius : height;
      for (; blurred + kPair <= complete; blurred += kPair) motion_sum += blur_and_sum(blurred, kPair);
    }
    if (blurred < height) motion_sum += blur_and_sum(blurred, 1);
    const double samples = double(format_.width) * height;
    values.motion = double(motion_sum) / 256.0 / samples;
    values.luma_mean = luma_.mean();
    values.luma_nominal_mean = double(nominal_sum_) / (samples * format_.unit());
  }

  DifferenceRow<Difference> difference_row(int y) {
    const int slot = y % kHeldRows;
    return {differences_[slot], changed_[slot].data()};
  }

  // Blurs `count` rows of the difference from y on; the rows below that they need are available.
  std::uint64_t blur_and_sum(int y, int count) {
    if (is_first()) return 0;
    DifferenceRow<Difference> rows[kBlurRows];
    const int last = y + count - 1 + kBlurRadius;
    for (int i = 0; i < kBlurRows; ++i) {
      rows[i] = difference_row(reflect(std::min(y - kBlurRadius + i, last), format_.height));
    }
    Scratch scratch;
    for (int i = 0; i < kScratchRows; ++i) scratch.rows[i] = scratch_rows_[i];
    return kernels_.blur_and_sum(rows, count, format_.width, format_.bit_depth, scratch);
  }

  // Two rows may still wait for the next one when a pair is added: five taps plus a pair.
  static constexpr int kHeldRows = kBlurTaps + kPair;

  FrameFormat format_;
  RowKernels<Samples> kernels_;
  CellSums<Samples> luma_;
  std::array<std::unique_ptr<Chroma>, 2> chroma_;
  std::array<PlaneView, 3> previous_;    // of the previous frame, not owned; null before the first frame
  AlignedRows<Difference> differences_;  // to the previous frame, of the last rows
  std::array<std::array<std::uint64_t, kMaxWords>, kHeldRows> changed_{};  // blocks of these that may be nonzero
  AlignedRows<std::int32_t> scratch_rows_;
  AlignedRows<typename Samples::Sample> zeros_;
  int changed_blocks_ = 0;  // in the last rows
  std::int64_t nominal_sum_ = 0;
  std::array<std::uint8_t, kThumbnailHeight * kThumbnailWidth * 3> thumbnail_;
};

template <typename Samples>
std::unique_ptr<FrameAnalyzer> make_analyzer(const FrameFormat& format, [[maybe_unused]] const std::string& simd) {
#ifdef SPATIALBEAM_HAS_X86_KERNELS
  if constexpr (!std::is_same_v<Samples, Samples16>) {
    if (simd == "avx512") return std::make_unique<RowFusedAnalyzer<Samples>>(format, avx512_kernels<Samples>());
    if (simd == "avx2") return std::make_unique<RowFusedAnalyzer<Samples>>(format, avx2_kernels<Samples>());
  }
#endif
  return std::make_unique<RowFusedAnalyzer<Samples>>(format, portable_kernels<Samples>());
}

}  // namespace

std::vector<std::string> available_simd() {
  std::vector<std::string> names{"portable"};
#ifdef SPATIALBEAM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2")) names.emplace_back("avx2");
  // Older processors lower the clock of the whole core while they use AVX-512.
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512vbmi2")) {
    names.emplace_back("avx512");
  }
#endif
  return names;
}

std::unique_ptr<FrameAnalyzer> make_frame_analyzer(const FrameFormat& format, const std::string& simd) {
  const auto available = available_simd();
  const std::string path = simd == "auto" ? available.back() : simd;
  if (std::find(available.begin(), available.end(), path) == available.end()) {
    std::string names = "auto";
    for (const auto& name : available) names += ", " + name;
    throw std::invalid_argument("simd must be one of " + names + " on this processor, got " + simd);
  }
  if (format.bit_depth == 8) return make_analyzer<Samples8>(format, path);
  if (format.bit_depth <= 14) return make_analyzer<Samples14>(format, path);
  return make_analyzer<Samples16>(format, path);
}

}  // namespace spatialbeam
