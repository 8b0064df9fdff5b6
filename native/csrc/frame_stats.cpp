#include "frame_stats.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "aligned_rows.hpp"
#include "cell_sums.hpp"
#include "row_kernels.hpp"

namespace spatialbeam {
namespace {

template <typename Samples>
class RowFusedAnalyser : public FrameAnalyser {
  using Sample = typename Samples::Sample;
  using Difference = typename Samples::Difference;

 public:
  RowFusedAnalyser(const PictureFormat& format, const RowKernels<Samples>& kernels)
      : format_(format),
        kernels_(kernels),
        luma_(format.width, format.height, format.bit_depth, kernels),
        chroma_(std::max(format.chroma_width, 1), std::max(format.chroma_height, 1), format.bit_depth,
                kernels),
        differences_(kBlurTaps, format.width, kRowPadding),
        changed_(kBlurTaps, block_count(format.width), 0),
        scratch_rows_(3, format.width, kRowPadding),
        scratch_blocks_(block_count(format.width) + 2) {}

  FrameNumbers push(PlaneView y, PlaneView u, PlaneView v, std::uint8_t* thumbnail) override {
    FrameNumbers numbers;
    push_luma(y, thumbnail, numbers);
    if (format_.has_chroma()) {
      numbers.u_mean = push_chroma(u, thumbnail + 1);
      numbers.v_mean = push_chroma(v, thumbnail + 2);
    } else {
      for (int i = 0; i < kThumbnailWidth * kThumbnailHeight; ++i) std::memset(thumbnail + 3 * i + 1, 128, 2);
    }
    return numbers;
  }

  void reset() override { previous_ = {}; }

 private:
  static const Sample* row_of(PlaneView plane, int y) {
    return reinterpret_cast<const Sample*>(plane.data + y * plane.stride_bytes);
  }

  bool is_first() const { return previous_.data == nullptr; }

  // One pass over the rows: all that a row feeds is done while it is in the fastest cache.
  void push_luma(PlaneView plane, std::uint8_t* thumbnail, FrameNumbers& numbers) {
    const int height = format_.height;
    const PlaneView previous = is_first() ? plane : previous_;
    std::uint64_t motion_sum = 0;
    std::uint64_t nominal_sum = 0;
    luma_.begin_plane();
    for (int y = 0; y < height; ++y) {
      const int slot = y % kBlurTaps;
      nominal_sum += kernels_.take_luma_row(row_of(plane, y), row_of(previous, y), format_.width, format_.bit_depth,
                                            luma_.columns(), differences_[slot], changed_[slot]);
      luma_.end_row(y, thumbnail);
      if (y >= kBlurRadius) motion_sum += blur_and_sum(y - kBlurRadius);
    }
    for (int y = std::max(0, height - kBlurRadius); y < height; ++y) motion_sum += blur_and_sum(y);
    const double samples = double(format_.width) * height;
    numbers.motion = double(motion_sum) / 256.0 / samples;
    numbers.luma_mean = luma_.mean();
    numbers.luma_nominal_mean = double(nominal_sum) / (samples * (1 << (format_.bit_depth - 8)));
    previous_ = plane;
  }

  // Of row y of the difference, once the rows below that it needs have been taken.
  std::uint64_t blur_and_sum(int y) {
    if (is_first()) return 0;
    DifferenceRows<Difference> rows;
    for (int i = 0; i < kBlurTaps; ++i) {
      const int slot = reflect(y + i - kBlurRadius, format_.height) % kBlurTaps;
      rows.values[i] = differences_[slot];
      rows.changed[i] = changed_[slot];
    }
    const Scratch scratch{{scratch_rows_[0], scratch_rows_[1], scratch_rows_[2]}, scratch_blocks_.data()};
    return kernels_.blur_and_sum(rows, format_.width, format_.bit_depth, scratch);
  }

  double push_chroma(PlaneView plane, std::uint8_t* thumbnail_channel) {
    chroma_.begin_plane();
    for (int y = 0; y < format_.chroma_height; ++y) {
      kernels_.add_row(row_of(plane, y), format_.chroma_width, chroma_.columns());
      chroma_.end_row(y, thumbnail_channel);
    }
    return chroma_.mean();
  }

  PictureFormat format_;
  RowKernels<Samples> kernels_;
  CellSums<Samples> luma_;
  CellSums<Samples> chroma_;
  PlaneView previous_;  // luma of the frame before, in its owner's memory; no data: this is the first
  AlignedRows<Difference> differences_;  // to the frame before, of the last rows taken
  AlignedRows<std::uint8_t> changed_;    // blocks of these that are not zero
  AlignedRows<std::int32_t> scratch_rows_;
  std::vector<std::uint8_t> scratch_blocks_;
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
