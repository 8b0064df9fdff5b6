#include <cmath>
#include <limits>

#include "bundle_geometry.hpp"
#include "parallel.hpp"

namespace spatialbeam::bundle {
namespace {

// Calls use(first, count, points) for each tile of a frame's points.
template <typename Use>
void for_tiles(const Problem& problem, int frame, const Use& use) {
  const Kernels<double> kernels = portable_kernels<double>();
  TilePoints<double> points;
  for (int first = 0; first < problem.points; first += kTile) {
    const int count = std::min(kTile, problem.points - first);
    const std::size_t point = std::size_t(frame) * problem.points + first;
    kernels.load_points(problem.pixels + 2 * (problem.shared_pixels ? first : point), problem.inverse_depth + point,
                        problem.intrinsics, count, points);
    use(first, count, points);
  }
}

}  // namespace

Reprojection reproject(const Problem& problem, double min_depth_ratio, int threads) {
  const std::size_t total = std::size_t(problem.edges) * problem.points;
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  Reprojection result{std::vector<float>(2 * total), std::vector<float>(total), std::vector<std::uint8_t>(total)};
  parallel_for(problem.edges, threads, [&](int e, int) {
    double g[se3::kPose], r[9];
    relative_pose(problem.cam_from_world, problem.source[e], problem.target[e], g);
    se3::rotation_matrix(g + 3, r);
    for_tiles(problem, problem.source[e], [&](int first, int count, const TilePoints<double>& p) {
      const std::size_t offset = std::size_t(e) * problem.points + first;
      for (int k = 0; k < count; ++k) {
        const double x = r[0] * p.x[k] + r[1] * p.y[k] + r[2] + g[0] * p.d[k];
        const double y = r[3] * p.x[k] + r[4] * p.y[k] + r[5] + g[1] * p.d[k];
        const double z = r[6] * p.x[k] + r[7] * p.y[k] + r[8] + g[2] * p.d[k];
        const bool valid = z >= min_depth_ratio;
        result.pixels[2 * (offset + k)] = valid ? float(problem.intrinsics[0] * x / z + problem.intrinsics[2]) : kNone;
        result.pixels[2 * (offset + k) + 1] =
            valid ? float(problem.intrinsics[1] * y / z + problem.intrinsics[3]) : kNone;
        result.depth[offset + k] = valid ? float(z / p.d[k]) : kNone;
        result.valid[offset + k] = valid;
      }
    });
  });
  return result;
}

std::vector<double> frame_distance(const Problem& problem, double beta, double min_depth_ratio, double min_share,
                                   int threads) {
  std::vector<double> distance(problem.edges);
  const double fx = problem.intrinsics[0], fy = problem.intrinsics[1];
  parallel_for(problem.edges, threads, [&](int e, int) {
    double g[se3::kPose], r[9], inverse_rotation[se3::kQuaternion], t[3];
    relative_pose(problem.cam_from_world, problem.source[e], problem.target[e], g);
    se3::rotation_matrix(g + 3, r);
    se3::invert_rotation(g + 3, inverse_rotation);
    se3::rotate(inverse_rotation, g, t);  // the translation along the source camera's axes
    double sum = 0;
    int num_valid = 0;
    for_tiles(problem, problem.source[e], [&](int, int count, const TilePoints<double>& p) {
      for (int k = 0; k < count; ++k) {
        const double z = r[6] * p.x[k] + r[7] * p.y[k] + r[8] + g[2] * p.d[k];
        const double translated_z = 1 + t[2] * p.d[k];
        if (!(z >= min_depth_ratio && translated_z >= min_depth_ratio)) continue;
        const double u = (r[0] * p.x[k] + r[1] * p.y[k] + r[2] + g[0] * p.d[k]) / z - p.x[k];
        const double v = (r[3] * p.x[k] + r[4] * p.y[k] + r[5] + g[1] * p.d[k]) / z - p.y[k];
        const double translated_u = (p.x[k] + t[0] * p.d[k]) / translated_z - p.x[k];
        const double translated_v = (p.y[k] + t[1] * p.d[k]) / translated_z - p.y[k];
        sum += beta * std::sqrt(fx * fx * u * u + fy * fy * v * v) +
               (1 - beta) * std::sqrt(fx * fx * translated_u * translated_u + fy * fy * translated_v * translated_v);
        ++num_valid;
      }
    });
    const bool is_valid = num_valid > 0 && num_valid >= min_share * problem.points;
    distance[e] = is_valid ? sum / num_valid : std::numeric_limits<double>::infinity();
  });
  return distance;
}

}  // namespace spatialbeam::bundle
