#include "frame_stats.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "aligned_rows.hpp"
#include "cell_sums.hpp"
#include "row_kernels.hpp"

namespace spatialbeam {
namespace {

template <typename Samples>
const typename Samples::Sample* row_of(PlaneView plane, int y) {
  return reinterpret_cast<const typename Samples::Sample*>(plane.data + y * plane.stride_bytes);
}

// A plane's mean and its channel of the thumbnail.
template <typename Samples>
class ChromaAnalyser {
 public:
  ChromaAnalyser(int width, int height, int bit_depth, const RowKernels<Samples>& kernels)
      : width_(width),
        height_(height),
        take_row_(kernels.take_row),
        cells_(width, height, bit_depth, kernels),
        difference_(1, width, kRowPadding),
        changed_(block_count(width), 0) {}

  double push(PlaneView plane, PlaneView previous, std::uint8_t* thumbnail_channel) {
    cells_.begin_plane();
    for (int y = 0; y < height_; ++y) {
      const bool changed = take_row_(row_of<Samples>(plane, y), row_of<Samples>(previous, y), width_, cells_.columns(),
                                     difference_[0], changed_.data(), changed_.data());
      cells_.end_row(y, changed, thumbnail_channel);
    }
    return cells_.mean();
  }

  void reset() { cells_.reset(); }

 private:
  int width_;
  int height_;
  decltype(RowKernels<Samples>::take_row) take_row_;
  CellSums<Samples> cells_;
  AlignedRows<typename Samples::Difference> difference_;
  std::vector<std::uint8_t> changed_;
};

// All numbers follow from the steps to the frame before, so that what did not change costs little; a first frame's are
// those from zeros.
template <typename Samples>
class RowFusedAnalyser : public FrameAnalyser {
  using Difference = typename Samples::Difference;
  using Chroma = ChromaAnalyser<Samples>;

 public:
  RowFusedAnalyser(const PictureFormat& format, const RowKernels<Samples>& kernels)
      : format_(format),
        kernels_(kernels),
        luma_(format.width, format.height, format.bit_depth, kernels),
        differences_(kBlurTaps, format.width, kRowPadding),
        changed_(kBlurTaps, block_count(format.width), kRowPadding),
        scratch_rows_(3, format.width, kRowPadding),
        zeros_(1, format.width, 0) {
    const int width = std::max(format.chroma_width, 1);
    const int height = std::max(format.chroma_height, 1);
    for (auto& chroma : chroma_) chroma = std::make_unique<Chroma>(width, height, format.bit_depth, kernels);
    reset();
  }

  FrameNumbers push(PlaneView y, PlaneView u, PlaneView v, std::uint8_t* thumbnail) override {
    FrameNumbers numbers;
    push_luma(y, numbers);
    if (format_.has_chroma()) {
      numbers.u_mean = chroma_[0]->push(u, before(previous_[1]), &thumbnail_[1]);
      numbers.v_mean = chroma_[1]->push(v, before(previous_[2]), &thumbnail_[2]);
    }
    previous_ = {y, u, v};
    std::copy(thumbnail_.begin(), thumbnail_.end(), thumbnail);
    return numbers;
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

  PlaneView before(PlaneView previous) {
    return is_first() ? PlaneView{reinterpret_cast<const std::uint8_t*>(zeros_[0]), 0} : previous;
  }

  // One pass over the rows: all that a row feeds is done while it is in the fastest cache.
  void push_luma(PlaneView plane, FrameNumbers& numbers) {
    const int height = format_.height;
    const PlaneView previous = before(previous_[0]);
    std::uint64_t motion_sum = 0;
    luma_.begin_plane();
    for (int y = 0; y < height; ++y) {
      const int slot = y % kBlurTaps;
      const auto* row = row_of<Samples>(plane, y);
      const auto* row_before = row_of<Samples>(previous, y);
      row_changed_[slot] = kernels_.take_row(row, row_before, format_.width, luma_.columns(), differences_[slot],
                                             changed_[(slot + kBlurTaps - 1) % kBlurTaps], changed_[slot]);
      if (row_changed_[slot]) {
        nominal_sum_ += kernels_.nominal_step(row, row_before, changed_[slot], format_.width, format_.bit_depth);
      }
      luma_.end_row(y, row_changed_[slot], &thumbnail_[0]);
      if (y >= kBlurRadius) motion_sum += blur_and_sum(y - kBlurRadius);
    }
    for (int y = std::max(0, height - kBlurRadius); y < height; ++y) motion_sum += blur_and_sum(y);
    const double samples = double(format_.width) * height;
    numbers.motion = double(motion_sum) / 256.0 / samples;
    numbers.luma_mean = luma_.mean();
    numbers.luma_nominal_mean = double(nominal_sum_) / (samples * format_.unit());
  }

  // Of row y of the difference, once the rows below that it needs have been taken.
  std::uint64_t blur_and_sum(int y) {
    if (is_first()) return 0;
    DifferenceRows<Difference> rows;
    bool any_changed = false;
    for (int i = 0; i < kBlurTaps; ++i) {
      const int slot = reflect(y + i - kBlurRadius, format_.height) % kBlurTaps;
      rows.values[i] = differences_[slot];
      rows.changed[i] = changed_[slot];
      any_changed |= row_changed_[slot];
    }
    if (!any_changed) return 0;
    const Scratch scratch{{scratch_rows_[0], scratch_rows_[1], scratch_rows_[2]}};
    return kernels_.blur_and_sum(rows, format_.width, format_.bit_depth, scratch);
  }

  PictureFormat format_;
  RowKernels<Samples> kernels_;
  CellSums<Samples> luma_;
  std::array<std::unique_ptr<Chroma>, 2> chroma_;
  std::array<PlaneView, 3> previous_;    // of the frame before, in its owner's memory; no data: this is the first
  AlignedRows<Difference> differences_;  // to the frame before, of the last rows taken
  AlignedRows<std::uint8_t> changed_;    // blocks of these that are not zero
  std::array<bool, kBlurTaps> row_changed_{};
  AlignedRows<std::int32_t> scratch_rows_;
  AlignedRows<typename Samples::Sample> zeros_;
  std::int64_t nominal_sum_ = 0;
  std::array<std::uint8_t, kThumbnailHeight * kThumbnailWidth * 3> thumbnail_;
};

template <typename Samples>
std::unique_ptr<FrameAnalyser> make_analyser(const PictureFormat& format, [[maybe_unused]] const std::string& simd) {
#ifdef SPATIALBEAM_HAS_X86_KERNELS
  if constexpr (!std::is_same_v<Samples, Samples16>) {
    if (simd == "avx512") return std::make_unique<RowFusedAnalyser<Samples>>(format, avx512_kernels<Samples>());
    if (simd == "avx2") return std::make_unique<RowFusedAnalyser<Samples>>(format, avx2_kernels<Samples>());
  }
#endif
  return std::make_unique<RowFusedAnalyser<Samples>>(format, portable_kernels<Samples>());
}

}  // namespace

std::vector<std::string> available_simd() {
  std::vector<std::string> names{"portable"};
#ifdef SPATIALBEAM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2")) names.emplace_back("avx2");
  // Older processors with AVX-512 lower their clock when they use it, for all that runs on the core.
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512vbmi2")) {
    names.emplace_back("avx512");
  }
#endif
  return names;
}

std::unique_ptr<FrameAnalyser> make_frame_analyser(const PictureFormat& format, const std::string& simd) {
  const auto available = available_simd();
  const std::string path = simd == "auto" ? available.back() : simd;
  if (std::find(available.begin(), available.end(), path) == available.end()) {
    std::string names = "auto";
    for (const auto& name : available) names += ", " + name;
    throw std::invalid_argument("simd must be one of " + names + " on this processor, got " + simd);
  }
  if (format.bit_depth == 8) return make_analyser<Samples8>(format, path);
  if (format.bit_depth <= 14) return make_analyser<Samples14>(format, path);
  return make_analyser<Samples16>(format, path);
}

}  // namespace spatialbeam
