// Subpixel patch alignment: inverse compositional Lucas-Kanade (Baker and Matthews 2004).
#pragma once

#include <cstddef>
#include <cstdint>

namespace spatialbeam {

constexpr int kMaxPatchRadius = 12;

struct PatchStack {
  const std::uint8_t* images;  // count x height x width
  int count;
  int height;
  int width;
};

struct PatchQuery {
  int source;         // image that the template is sampled in
  int target;         // image that it is aligned in
  float position[2];  // patch center in the source, pixels
  float initial[2];   // initial position in the target, pixels
  float warp[4];      // source_from_target, 2 x 2 row-major: maps offsets from the center
};

// All NaN if the patch left the image or did not converge.
struct PatchResult {
  float position[2];  // in the target, pixels
  float correlation;  // zero-mean normalized cross-correlation (ZNCC) there, -1 to 1
  float sigma;        // standard deviation per coordinate in pixels for noise of one gray level
};

// Aligns `size` patches of (2 radius + 1)^2 pixels by Gauss-Newton steps of their translation, with free gain and bias.
void align_patches(const PatchStack& stack, const PatchQuery* queries, PatchResult* results, std::size_t size,
                   int radius, int iterations, int threads);

}  // namespace spatialbeam
