// Inner loops of bundle adjustment on tiles of points of one source frame: one implementation per instruction set, in
// single and double precision.
//
// A point [x, y, 1, d] of the source is transformed to [X, Y, Z, d] in the target. With D = 1 / Z, (X D, Y D) are its
// normalized image coordinates and h = d D its inverse depth in the target. The negated rows of the residual's Jacobian
// with respect to the target's pose (tau, phi; left perturbation), in normalized coordinates, are
//   a = [h, 0, -h X D, -XY D^2, 1 + (X D)^2, -Y D]   and   b = [0, h, -h Y D, -1 - (Y D)^2, XY D^2, X D],
// and all others follow from these.
#pragma once

#include <string>

namespace spatialbeam::bundle {

constexpr int kTile = 512;  // the working set of a tile fits the L1 cache
constexpr int kMaxLanes = 16;

// Rounds up to the number of elements that kernels read of a row.
inline int padded(int count) { return (count + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

enum class RobustKernel { kNone, kHuber, kCauchy };

// Points of a tile in their source frame: rays (x, y, 1) and inverse depths d.
template <typename T>
struct alignas(64) TilePoints {
  T x[kTile], y[kTile], d[kTile];
};

template <typename T>
struct EdgeModel {
  T rotation[9];  // target from source, row-major
  T translation[3];
  T fx, fy;
  T scale_u, scale_v, shift_u, shift_v;  // pixels to normalized coordinates
  T square_u, square_v;                  // squared focal lengths
  T min_depth_ratio;                     // minimum Z
  T kernel_px2, inverse_kernel_px2;      // squared loss scale, and its reciprocal
  RobustKernel kernel;
  // Outputs besides the Jacobians of poses.
  bool with_points, with_focal, with_residuals, with_costs;
};

// Observations of a tile in the target. Entries without a positive weight or a finite target are not observations.
struct Observations {
  const float* target;  // (count, 2)
  const float* weight;  // (count, channels)
  int channels;         // 1 or 2
  int count;
  const float* next_target;  // data to prefetch, null for none
  const float* next_weight;
  bool summed;  // whether `add_pose_sums` follows `project`
};

// Points of a tile projected by an edge. Without an observation, weights, residuals and costs are 0 and all other
// values are finite.
template <typename T>
struct alignas(64) Projected {
  T x[kTile], y[kTile], h[kTile];  // X D, Y D, d D
  T wu[kTile], wv[kTile];          // weights x squared focal lengths x rho'
  T pu[kTile], pv[kTile];          // wu ru, wv rv
  T du[kTile], dv[kTile];          // derivatives of the projection by d, if requested
  T fu[kTile], fv[kTile];          // by the logarithm of the focal lengths, if requested
  T ru[kTile], rv[kTile];          // residuals / focal lengths, if requested
  T cost[kTile];                   // if requested
};

constexpr int kMotionSums = 25;
constexpr int kFocalSums = 8;

// Normal equations of the edges of one group, summed over observations.
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
  // J_pose^T W J_d of each point in six rows of kTile; added to `rows` or stored.
  void (*store_pose_rows)(const Projected<T>& projected, int count, bool add, T* rows);
  void (*add_focal_row)(const Projected<T>& projected, int count, T* row);
  // J_d^T W J_d and J_d^T W r of each point.
  void (*add_point_sums)(const Projected<T>& projected, int count, T* hessian, T* gradient);
  // Subtracts J_d^T W (J_pose y + J_focal f) of each point (back substitution).
  void (*subtract_step)(const Projected<T>& projected, int count, const T* y, T f, T* gradient);
  // Stores the costs of observations; negative where there is none.
  void (*store_costs)(const Projected<T>& projected, int count, T* costs);
  // Sums the stored and the new costs; an observation that became invalid keeps its cost, a new one is ignored.
  void (*compare_costs)(const Projected<T>& projected, int count, const T* stored, double& before, double& now);
  // Multiplies two rows elementwise.
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
