// What projected points add to the normal equations: a part of bundle_kernels_body.hpp.

// Rows a and b of the derivatives by the target's pose, but for their zeros.
template <typename T>
struct PoseRows {
  Vec<T> h, a2, a3, a4, a5, b2, b3, b4, b5;
};

template <typename T>
INLINE PoseRows<T> pose_rows(const Projected<T>& p, std::ptrdiff_t k) {
  const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k);
  const Vec<T> xy = x * y;
  return {h, -h * x, -xy, T(1) + x * x, -y, -h * y, T(-1) - y * y, xy, x};
}

// With g the rows of the projection's derivative by the point, [1, 0, -x] and [0, 1, -y], G = wu gu gu^T + wv gv gv^T
// and P = [x, y, 1], the poses' part J^T W J is made of h^2 G, of h times N = G x P (row by row) and of P x N (column by
// column), where most products serve several entries. See `motion_terms` for which sum is which.
template <typename T>
TARGET void add_pose_sums(const Projected<T>& p, const Observations& observations, PoseSums& sums) {
  Vec<T> total[kMotionSums];
  set_to_zero<T>(total);
  const float* next_weight = observations.next_weight;
  const int channels = observations.channels, count = observations.count;
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    if (next_weight) prefetch<T>(next_weight, k, channels);
    const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k), wu = load(p.wu + k), wv = load(p.wv + k);
    const Vec<T> ux = wu * x, uy = wu * y, vx = wv * x, vy = wv * y;
    const Vec<T> uxx = ux * x, vyy = vy * y, uxy = ux * y, vxy = vx * y;
    const Vec<T> square = uxx + vyy, turned = uxy - vxy, nu = wu + uxx, nv = wv + vyy;
    const Vec<T> n2u = x * (wu + square), n2v = y * (wv + square);
    const Vec<T> hh = h * h;
    total[0] += hh * wu, total[1] += hh * wv, total[2] += hh * ux, total[3] += hh * vy, total[4] += hh * square;
    total[5] += h * uxy, total[6] += h * nu, total[7] += h * uy;
    total[8] += h * nv, total[9] += h * vxy, total[10] += h * vx;
    total[11] += h * n2v, total[12] += h * n2u;
    total[13] += y * n2v + nv, total[14] += x * n2v + uxy, total[15] += y * turned - vx;
    total[16] += x * n2u + nu, total[17] += x * turned + uy, total[18] += uy * y + vx * x;
    const Vec<T> pu = load(p.pu + k), pv = load(p.pv + k);
    const Vec<T> along = x * pu + y * pv;
    total[19] += h * pu, total[20] += h * pv, total[21] += h * along;
    total[22] += y * along + pv, total[23] += x * along + pu, total[24] += x * pv - y * pu;
  }
  add_lanes<T>(total, sums.motion);
}

template <typename T>
TARGET void add_focal_sums(const Projected<T>& p, int count, bool with_poses, PoseSums& sums) {
  Vec<T> total[kFocalSums];
  set_to_zero<T>(total);
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const Vec<T> fu = load(p.fu + k), fv = load(p.fv + k);
    const Vec<T> wa = load(p.wu + k) * fu, wb = load(p.wv + k) * fv;
    total[6] += wa * fu + wb * fv;
    total[7] += fu * load(p.pu + k) + fv * load(p.pv + k);
    if (!with_poses) continue;
    const PoseRows<T> j = pose_rows(p, k);
    total[0] += wa * j.h, total[1] += wb * j.h;
    total[2] += wa * j.a2 + wb * j.b2, total[3] += wa * j.a3 + wb * j.b3;
    total[4] += wa * j.a4 + wb * j.b4, total[5] += wa * j.a5 + wb * j.b5;
  }
  add_lanes<T>(total, sums.focal);
}

template <typename T, bool kAdd>
INLINE void put_rows(const Projected<T>& p, int count, T* rows) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    const Vec<T> row[6] = {qa * j.h,
                           qb * j.h,
                           qa * j.a2 + qb * j.b2,
                           qa * j.a3 + qb * j.b3,
                           qa * j.a4 + qb * j.b4,
                           qa * j.a5 + qb * j.b5};
    for (int i = 0; i < 6; ++i) {
      T* to = rows + i * kTile + k;
      store(to, kAdd ? load(to) + row[i] : row[i]);
    }
  }
}

template <typename T>
TARGET void put_pose_rows(const Projected<T>& p, int count, bool add, T* rows) {
  if (add) {
    put_rows<T, true>(p, count, rows);
  } else {
    put_rows<T, false>(p, count, rows);
  }
}

template <typename T>
TARGET void add_focal_row(const Projected<T>& p, int count, T* row) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    store(row + k, load(row + k) + qa * load(p.fu + k) + qb * load(p.fv + k));
  }
}

template <typename T>
TARGET void add_point_sums(const Projected<T>& p, int count, T* curvature, T* slope) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const Vec<T> du = load(p.du + k), dv = load(p.dv + k);
    store(curvature + k, load(curvature + k) + load(p.wu + k) * du * du + load(p.wv + k) * dv * dv);
    store(slope + k, load(slope + k) + load(p.pu + k) * du + load(p.pv + k) * dv);
  }
}

template <typename T>
TARGET void subtract_step(const Projected<T>& p, int count, const T* y, T f, T* slope) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    Vec<T> du = j.h * y[0] + j.a2 * y[2] + j.a3 * y[3] + j.a4 * y[4] + j.a5 * y[5];
    Vec<T> dv = j.h * y[1] + j.b2 * y[2] + j.b3 * y[3] + j.b4 * y[4] + j.b5 * y[5];
    if (f != 0) {
      du += load(p.fu + k) * f;
      dv += load(p.fv + k) * f;
    }
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    store(slope + k, load(slope + k) - qa * du - qb * dv);
  }
}
