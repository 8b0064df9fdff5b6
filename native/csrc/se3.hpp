// SO(3) and SE(3) in double precision (Sola et al. 2018; Barfoot).
//
// A rotation is a unit quaternion [x y z w], a rigid transform [tx ty tz qx qy qz qw]; tangent vectors are phi and
// [tau phi]. The last argument is the output; it must not alias the inputs.
#pragma once

#include <cmath>

namespace spatialbeam::se3 {

constexpr int kPose = 7;
constexpr int kQuaternion = 4;
constexpr int kTangent = 6;

// Below this angle the closed forms cancel and Taylor series are used, with a truncation error below 1e-17.
constexpr double kSeriesAngle = 0.25;

inline double norm3(const double* v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

inline void cross(const double* a, const double* b, double* out) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

// Unit norm and canonical sign: the last nonzero component is positive.
inline void normalize_rotation(const double* q, double* out) {
  double scale = 1 / std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (const int i : {3, 2, 1, 0}) {
    if (q[i] == 0) continue;
    if (q[i] < 0) scale = -scale;
    break;
  }
  for (int i = 0; i < 4; ++i) out[i] = q[i] * scale;
}

inline void compose_rotations(const double* a, const double* b, double* out) {
  double q[4];
  cross(a, b, q);
  for (int i = 0; i < 3; ++i) q[i] += a[3] * b[i] + b[3] * a[i];
  q[3] = a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2];
  normalize_rotation(q, out);
}

inline void invert_rotation(const double* q, double* out) {
  for (int i = 0; i < 3; ++i) out[i] = -q[i];
  out[3] = q[3];
}

inline void rotate(const double* q, const double* v, double* out) {
  double twice[3], again[3];
  cross(q, v, twice);
  for (double& x : twice) x *= 2;
  cross(q, twice, again);
  for (int i = 0; i < 3; ++i) out[i] = v[i] + q[3] * twice[i] + again[i];
}

// Row-major 3 x 3.
inline void rotation_matrix(const double* q, double* m) {
  const double x = q[0], y = q[1], z = q[2], w = q[3];
  m[0] = 1 - 2 * (y * y + z * z), m[1] = 2 * (x * y - z * w), m[2] = 2 * (x * z + y * w);
  m[3] = 2 * (x * y + z * w), m[4] = 1 - 2 * (x * x + z * z), m[5] = 2 * (y * z - x * w);
  m[6] = 2 * (x * z - y * w), m[7] = 2 * (y * z + x * w), m[8] = 1 - 2 * (x * x + y * y);
}

// Quaternion of a matrix by its largest component (Shepperd 1978). `row` is the row stride of the matrix: 3, or 4 for a
// 4 x 4 transform.
inline void rotation_from_matrix(const double* m, int row, double* out) {
  const auto at = [&](int r, int c) { return m[r * row + c]; };
  const double trace = at(0, 0) + at(1, 1) + at(2, 2);
  int largest = 3;
  double best = trace;
  for (int i = 0; i < 3; ++i) {
    if (at(i, i) > best) best = at(i, i), largest = i;
  }
  double q[4];
  if (largest == 3) {
    q[0] = at(2, 1) - at(1, 2), q[1] = at(0, 2) - at(2, 0), q[2] = at(1, 0) - at(0, 1), q[3] = 1 + trace;
  } else {
    const int i = largest, j = (i + 1) % 3, k = (i + 2) % 3;
    q[i] = 1 + 2 * at(i, i) - trace;
    q[j] = at(j, i) + at(i, j);
    q[k] = at(k, i) + at(i, k);
    q[3] = at(k, j) - at(j, k);
  }
  normalize_rotation(q, out);
}

inline void exp_rotation(const double* phi, double* out) {
  const double half = norm3(phi) / 2;
  const double h2 = half * half;
  const double sine_ratio = half < 1e-2 ? 1 - h2 / 6 * (1 - h2 / 20 * (1 - h2 / 42)) : std::sin(half) / half;
  double q[4];
  for (int i = 0; i < 3; ++i) q[i] = sine_ratio / 2 * phi[i];
  q[3] = std::cos(half);
  normalize_rotation(q, out);
}

// The angle is at most pi; at pi, where both signs are valid, the last nonzero component is positive.
inline void log_rotation(const double* q, double* out) {
  double unit[4];
  normalize_rotation(q, unit);
  const double n = norm3(unit);
  // atan(x) / x of the half angle: 1 - x^2 / 3 is exact to rounding below 1e-4.
  const double ratio = n / unit[3];
  const double factor = n < 1e-4 ? 2 / unit[3] * (1 - ratio * ratio / 3) : 2 * std::atan2(n, unit[3]) / n;
  for (int i = 0; i < 3; ++i) out[i] = factor * unit[i];
}

// Left Jacobian: V(phi) tau with V = I + (1 - cos a) / a^2 [phi] + (a - sin a) / a^3 [phi]^2, a = |phi|.
inline void apply_left_jacobian(const double* phi, const double* tau, double* out) {
  const double a = norm3(phi);
  const double a2 = a * a;
  double first, second;
  if (a < kSeriesAngle) {
    first = 0.5 - a2 / 24 * (1 - a2 / 30 * (1 - a2 / 56 * (1 - a2 / 90 * (1 - a2 / 132))));
    second = 1.0 / 6 - a2 / 120 * (1 - a2 / 42 * (1 - a2 / 72 * (1 - a2 / 110 * (1 - a2 / 156))));
  } else {
    first = (1 - std::cos(a)) / a2;
    second = (a - std::sin(a)) / (a2 * a);
  }
  double once[3], twice[3];
  cross(phi, tau, once);
  cross(phi, once, twice);
  for (int i = 0; i < 3; ++i) out[i] = tau[i] + first * once[i] + second * twice[i];
}

// Inverse left Jacobian: I - [phi] / 2 + (1 - (a / 2) cot(a / 2)) / a^2 [phi]^2.
inline void apply_inverse_left_jacobian(const double* phi, const double* t, double* out) {
  const double a = norm3(phi);
  const double a2 = a * a;
  double second;
  if (a < kSeriesAngle) {
    second = 1.0 / 12 +
             a2 * (1.0 / 720 +
                   a2 * (1.0 / 30240 + a2 * (1.0 / 1209600 + a2 * (1.0 / 47900160 + a2 * (691.0 / 1307674368000)))));
  } else {
    second = (1 - a / 2 * std::cos(a / 2) / std::sin(a / 2)) / a2;
  }
  double once[3], twice[3];
  cross(phi, t, once);
  cross(phi, once, twice);
  for (int i = 0; i < 3; ++i) out[i] = t[i] - once[i] / 2 + second * twice[i];
}

inline void exp(const double* xi, double* out) {
  apply_left_jacobian(xi + 3, xi, out);
  exp_rotation(xi + 3, out + 3);
}

inline void log(const double* g, double* out) {
  log_rotation(g + 3, out + 3);
  apply_inverse_left_jacobian(out + 3, g, out);
}

inline void compose(const double* a, const double* b, double* out) {
  rotate(a + 3, b, out);
  for (int i = 0; i < 3; ++i) out[i] += a[i];
  compose_rotations(a + 3, b + 3, out + 3);
}

inline void invert(const double* g, double* out) {
  invert_rotation(g + 3, out + 3);
  rotate(out + 3, g, out);
  for (int i = 0; i < 3; ++i) out[i] = -out[i];
}

// Maps (X, w) to (R X + t w, w).
inline void act(const double* g, const double* point, double* out) {
  rotate(g + 3, point, out);
  for (int i = 0; i < 3; ++i) out[i] += g[i] * point[3];
  out[3] = point[3];
}

// Row-major 6 x 6: [[R, [t] R], [0, R]].
inline void adjoint(const double* g, double* m) {
  double r[9];
  rotation_matrix(g + 3, r);
  for (int c = 0; c < 3; ++c) {
    const double column[3] = {r[c], r[3 + c], r[6 + c]};
    double moved[3];
    cross(g, column, moved);
    for (int i = 0; i < 3; ++i) {
      m[i * 6 + c] = m[(i + 3) * 6 + c + 3] = column[i];
      m[i * 6 + c + 3] = moved[i];
      m[(i + 3) * 6 + c] = 0;
    }
  }
}

// Row-major 4 x 4.
inline void matrix(const double* g, double* m) {
  double r[9];
  rotation_matrix(g + 3, r);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) m[i * 4 + j] = r[i * 3 + j];
    m[i * 4 + 3] = g[i];
    m[12 + i] = 0;
  }
  m[15] = 1;
}

inline void from_matrix(const double* m, double* out) {
  for (int i = 0; i < 3; ++i) out[i] = m[i * 4 + 3];
  rotation_from_matrix(m, 4, out + 3);
}

inline void normalize(const double* g, double* out) {
  for (int i = 0; i < 3; ++i) out[i] = g[i];
  normalize_rotation(g + 3, out + 3);
}

}  // namespace spatialbeam::se3
