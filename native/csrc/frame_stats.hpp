// Per-frame arithmetic of the one-pass analysis: VMAF motion, plane means and a thumbnail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace spatialbeam {

constexpr int kThumbnailWidth = 64;
constexpr int kThumbnailHeight = 36;

// One plane of a picture: rows of `width` samples, 1 byte each at bit depth 8 and 2 above (native byte order).
struct PlaneView {
  const std::uint8_t* data = nullptr;
  std::ptrdiff_t stride_bytes = 0;
};

struct PictureFormat {
  int width = 0;
  int height = 0;
  int chroma_width = 0;  // 0: gray
  int chroma_height = 0;
  int bit_depth = 8;

  int unit() const { return 1 << (bit_depth - 8); }  // samples for one step of 8 bits
  int sample_bytes() const { return bit_depth > 8 ? 2 : 1; }
  bool has_chroma() const { return chroma_width > 0; }
};

// Means are in 8-bit code units, whatever the bit depth.
struct FrameNumbers {
  double motion = 0;
  double luma_mean = 0;
  double luma_nominal_mean = 0;
  double u_mean = 128;
  double v_mean = 128;
};

class FrameAnalyzer {
 public:
  virtual ~FrameAnalyzer() = default;
  // `thumbnail` has room for kThumbnailHeight x kThumbnailWidth x 3 bytes; u and v are unread for gray. The planes'
  // memory is read again by the next push: it must stay as it is until then, or until reset.
  virtual FrameNumbers push(PlaneView y, PlaneView u, PlaneView v, std::uint8_t* thumbnail) = 0;
  virtual void reset() = 0;
};

// Instruction sets of this build that this processor has, slowest first; "portable" is always there.
std::vector<std::string> available_simd();

// `simd` is one of available_simd(), or "auto" for the fastest; throws std::invalid_argument for others.
std::unique_ptr<FrameAnalyzer> make_frame_analyzer(const PictureFormat& format, const std::string& simd);

}  // namespace spatialbeam
