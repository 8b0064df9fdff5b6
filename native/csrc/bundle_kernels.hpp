// The inner loops of bundle adjustment, on tiles of points of one source frame; one implementation for each instruction
// set and for single and double precision.
//
// For a point [x, y, 1, d] of the source that goes to [X, Y, Z, d] in the target, with D = 1 / Z: (X D, Y D) is its
// projection in units of the focal lengths, h = d D its inverse depth in the target. In the same units the residual's
// derivatives by the target's pose (tau, phi; from the left) are, negated,
//   a = [h, 0, -h X D, -XY D^2, 1 + (X D)^2, -Y D]   and   b = [0, h, -h Y D, -1 - (Y D)^2, XY D^2, X D],
// and all others follow from these (see bundle_adjustment.cpp).
#pragma once

#include <string>

namespace spatialbeam::bundle {

constexpr int kTile = 512;  // short enough for what an edge does with a tile to stay in the first cache
constexpr int kMaxLanes = 16;

// Rounds up to what kernels may read of a row.
inline int padded(int count) { return (count + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

enum class RobustKernel { kNone, kHuber, kCauchy };

// Points of a tile in their source frame: (x, y, 1) is the viewing ray, d the inverse depth.
template <typename T>
struct alignas(64) TilePoints {
  T x[kTile], y[kTile], d[kTile];
};

template <typename T>
struct EdgeModel {
  T rotation[9];  // target from source, row-major
  T translation[3];
  T fx, fy;
  T scale_u, scale_v, shift_u, shift_v;  // pixels to units of the focal lengths
  T square_u, square_v;                  // squared focal lengths
  T min_depth_ratio;                     // least Z
  T kernel_px2, per_kernel_px2;          // squared scale of the robust kernel, and 1 by it
  RobustKernel kernel;
  // What is asked for besides the derivatives by poses.
  bool with_points, with_focal, with_residuals, with_costs;
};

// Of the tile's points in the target. Weights that are not above 0 and targets that are not finite are no observations.
struct Observations {
  const float* target;  // (count, 2)
  const float* weight;  // (count, channels)
  int channels;         // 1 or 2
  int count;
  const float* next_target;  // about as many that will be needed soon, null for none
  const float* next_weight;
  bool summed;  // whether `add_pose_sums` follows `project`
};

// What an edge does with a tile's points. Where there is no observation, weights, residuals and costs are 0 and the
// other values finite.
template <typename T>
struct alignas(64) Projected {
  T x[kTile], y[kTile], h[kTile];  // X D, Y D, d D
  T wu[kTile], wv[kTile];          // weights x squared focal lengths x the robust kernel's slope
  T pu[kTile], pv[kTile];          // those x residuals / focal lengths
  T du[kTile], dv[kTile];          // derivatives of the projection by d, if the model asks for them
  T fu[kTile], fv[kTile];          // by the logarithm of the focal lengths, if the model asks for them
  T ru[kTile], rv[kTile];          // residuals / focal lengths, if the model asks for them
  T cost[kTile];                   // if the model asks for it
};

constexpr int kMotionSums = 25;
constexpr int kFocalSums = 8;

// Sums over observations for one edge or several that join the same two frames.
struct PoseSums {
  double motion[kMotionSums];  // of J^T W J and J^T W r for the target's pose; see `motion_terms`
  double focal[kFocalSums];    // of J^T W J_focal, then of J_focal^T W J_focal and J_focal^T W r
};

template <typename T>
struct Kernels {
  // Points between `count` and the next multiple of kMaxLanes become 0.
  void (*load_points)(const float* pixels, const double* inverse_depth, const double* intrinsics, int count,
                      TilePoints<T>& out);
  // Returns the sum of the costs.
  double (*project)(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                    Projected<T>& out);
  void (*add_pose_sums)(const Projected<T>& projected, const Observations& observations, PoseSums& sums);
  void (*add_focal_sums)(const Projected<T>& projected, int count, bool with_poses, PoseSums& sums);
  // J_pose^T W J_d of each point in six rows of kTile; added to what is there or put in its place.
  void (*put_pose_rows)(const Projected<T>& projected, int count, bool add, T* rows);
  void (*add_focal_row)(const Projected<T>& projected, int count, T* row);
  // J_d^T W J_d and J_d^T W r of each point.
  void (*add_point_sums)(const Projected<T>& projected, int count, T* curvature, T* slope);
  // J_d^T W (J_pose y + J_focal f) of each point, taken from `slope`.
  void (*subtract_step)(const Projected<T>& projected, int count, const T* y, T f, T* slope);
  // Keeps the costs of observations, below 0 where there is none.
  void (*keep_costs)(const Projected<T>& projected, int count, T* costs);
  // Adds the costs kept and those now; an observation that is one no more keeps its cost, a new one does not count.
  void (*compare_costs)(const Projected<T>& projected, int count, const T* kept, double& before, double& now);
  // Multiplies a row by another.
  void (*scale_row)(const T* factors, int count, T* row);
  // Adds the products of rows to out[index[r] * size + index[c]], c <= r. Rows are read up to a multiple of kMaxLanes.
  void (*add_gram)(const T* const* rows, const int* index, int row_count, int count, int size, double* out);
  // Adds A^T B to `out`: A has rows of 6, B and `out` have rows of their strides, read and written up to a multiple of
  // kMaxLanes columns.
  void (*add_transposed_product)(const double* a, const double* b, int rows, int stride, int columns, int out_stride,
                                 double* out);
  double (*dot)(const double* a, const double* b, int count);
};

template <typename T>
Kernels<T> portable_kernels();

#if defined(__x86_64__)
#define SPATIALBEAM_HAS_X86_BUNDLE_KERNELS 1
template <typename T>
Kernels<T> avx2_kernels();
template <typename T>
Kernels<T> avx512_kernels();
#endif

}  // namespace spatialbeam::bundle
