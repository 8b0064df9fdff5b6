// Per-frame statistics of the analysis pass: VMAF motion, plane means and a thumbnail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace spatialbeam {

constexpr int kThumbnailWidth = 64;
constexpr int kThumbnailHeight = 36;

// One plane of a frame: rows of samples, 1 byte each at bit depth 8 and 2 above (native byte order).
struct PlaneView {
  const std::uint8_t* data = nullptr;
  std::ptrdiff_t stride_bytes = 0;
};

struct FrameFormat {
  int width = 0;
  int height = 0;
  int chroma_width = 0;  // 0: gray
  int chroma_height = 0;
  int bit_depth = 8;

  int unit() const { return 1 << (bit_depth - 8); }  // sample values per 8-bit code value
  int sample_bytes() const { return bit_depth > 8 ? 2 : 1; }
  bool has_chroma() const { return chroma_width > 0; }
};

// Means are in 8-bit code values at every bit depth.
struct FrameStatValues {
  double motion = 0;
  double luma_mean = 0;
  double luma_nominal_mean = 0;
  double u_mean = 128;
  double v_mean = 128;
};

class FrameAnalyzer {
 public:
  virtual ~FrameAnalyzer() = default;
  // Writes kThumbnailHeight x kThumbnailWidth x 3 bytes to `thumbnail`; u and v are ignored for gray. The planes are
  // read again by the next push: they must not change until then, or until reset.
  virtual FrameStatValues push(PlaneView y, PlaneView u, PlaneView v, std::uint8_t* thumbnail) = 0;
  virtual void reset() = 0;
};

// Instruction sets that the build and the processor support, slowest first; "portable" is always included.
std::vector<std::string> available_simd();

// `simd` is one of available_simd(), or "auto" for the fastest; throws std::invalid_argument otherwise.
std::unique_ptr<FrameAnalyzer> make_frame_analyzer(const FrameFormat& format, const std::string& simd);

}  // namespace spatialbeam
