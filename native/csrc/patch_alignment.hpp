// Finds where small patches of one picture lie in another, to a fraction of a pixel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spatialbeam {

constexpr int kMaxPatchRadius = 12;

struct PatchStack {
  const std::uint8_t* pictures;  // count x height x width
  int count;
  int height;
  int width;
};

struct PatchQuery {
  int source;      // picture that the patch is taken from
  int target;      // picture that it is looked for in
  float at[2];     // its middle in the source, pixels
  float guess[2];  // where to begin in the target, pixels
  float warp[4];   // source_from_target, 2 x 2 by rows: an offset in the target is this one in the source
};

struct PatchResult {
  float at[2];   // place in the target; NaN if the search left the picture or did not settle
  float match;   // zero-mean normalized correlation there, -1 to 1; NaN as `at`
  float spread;  // pixels that the place is off by for noise of one gray level a pixel; NaN as `at`
};

// Aligns `size` patches of (2 radius + 1)^2 pixels by Gauss-Newton steps of their place, brightness and contrast free.
void align_patches(const PatchStack& stack, const PatchQuery* queries, PatchResult* results, std::size_t size,
                   int radius, int iterations, int threads);

}  // namespace spatialbeam
