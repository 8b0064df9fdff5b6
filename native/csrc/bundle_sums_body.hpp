// What projected points add to the normal equations: a part of bundle_kernels_body.hpp.

// Rows a and b of the derivatives by the target's pose, but for their zeros.
template <typename T>
struct PoseRows {
  Vec<T> h, a2, a3, a4, a5, b2, b3, b4, b5;
};

template <typename T>
INLINE PoseRows<T> pose_rows(const Projected<T>& p, int k) {
  const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k);
  const Vec<T> xy = x * y;
  return {h, -h * x, -xy, T(1) + x * x, -y, -h * y, T(-1) - y * y, xy, x};
}

// The sums that have a part h, the inverse depth in the target. They are made of few products, most of which are entries
// themselves: the one at h[17] is minus those at h[3] and h[10].
template <typename T>
INLINE void add_depth_sums(const Projected<T>& p, int count, PoseSums& sums) {
  Vec<T> total[15] = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k), wu = load(p.wu + k), wv = load(p.wv + k);
    const Vec<T> u = wu * h, v = wv * h;
    const Vec<T> uh = u * h, vh = v * h;
    const Vec<T> uhx = uh * x, vhy = vh * y;
    total[0] += uh, total[1] += vh, total[2] += uhx, total[3] += vhy;
    total[4] += uhx * x + vhy * y;
    const Vec<T> ux2 = u + u * x * x, vy2 = v + v * y * y;
    const Vec<T> uy = u * y, vx = v * x;
    const Vec<T> uxy = uy * x, vxy = vx * y;
    total[5] += ux2, total[6] += vy2, total[7] += uy, total[8] += vx, total[9] += uxy, total[10] += vxy;
    total[11] += uxy * x + vy2 * y;
    total[12] += ux2 * x + vxy * y;
    total[13] += u * load(p.ru + k);
    total[14] += v * load(p.rv + k);
  }
  double sum[15];
  for (int i = 0; i < 15; ++i) sum[i] = sum_lanes(total[i]);
  constexpr int kEntries[13] = {0, 7, 2, 8, 14, 4, 9, 5, 11, 3, 10, 15, 16};
  constexpr double kSigns[13] = {1, 1, -1, -1, 1, 1, -1, -1, 1, -1, 1, 1, -1};
  for (int i = 0; i < 13; ++i) sums.h[kEntries[i]] += kSigns[i] * sum[i];
  sums.h[17] += sum[9] - sum[10];
  sums.v[0] += sum[13];
  sums.v[1] += sum[14];
}

// The others.
template <typename T>
INLINE void add_turn_sums(const Projected<T>& p, int count, PoseSums& sums) {
  Vec<T> total[10] = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> x = load(p.x + k), y = load(p.y + k), wu = load(p.wu + k), wv = load(p.wv + k);
    const Vec<T> xx = T(1) + x * x, yy = T(1) + y * y, xy = x * y;
    const Vec<T> uxx = wu * xx, vyy = wv * yy, uy = wu * y, vx = wv * x;
    total[0] += wu * xy * xy + vyy * yy;
    total[1] += (uxx + vyy) * xy;
    total[2] += uy * xy - vx * yy;
    total[3] += uxx * xx + wv * xy * xy;
    total[4] += vx * xy - uy * xx;
    total[5] += uy * y + vx * x;
    const Vec<T> ru = wu * load(p.ru + k), rv = wv * load(p.rv + k);
    total[6] += (ru * x + rv * y) * load(p.h + k);
    total[7] += xy * ru + yy * rv;
    total[8] += xx * ru + xy * rv;
    total[9] += x * rv - y * ru;
  }
  constexpr int kEntries[6] = {21, 22, 23, 28, 29, 35};
  for (int i = 0; i < 6; ++i) sums.h[kEntries[i]] += (i == 1 ? -1 : 1) * sum_lanes(total[i]);
  for (int i = 0; i < 4; ++i) sums.v[2 + i] += (i < 2 ? -1 : 1) * sum_lanes(total[6 + i]);
}

// In two passes, so that the sums stay in registers.
template <typename T>
TARGET void add_pose_sums(const Projected<T>& p, int count, PoseSums& sums) {
  add_depth_sums(p, count, sums);
  add_turn_sums(p, count, sums);
}

template <typename T>
TARGET void add_focal_sums(const Projected<T>& p, int count, bool with_poses, PoseSums& sums) {
  Vec<T> own = {}, residual = {}, pose[6] = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> fu = load(p.fu + k), fv = load(p.fv + k);
    const Vec<T> wa = load(p.wu + k) * fu, wb = load(p.wv + k) * fv;
    own += wa * fu + wb * fv;
    residual += wa * load(p.ru + k) + wb * load(p.rv + k);
    if (!with_poses) continue;
    const PoseRows<T> j = pose_rows(p, k);
    pose[0] += wa * j.h, pose[1] += wb * j.h;
    pose[2] += wa * j.a2 + wb * j.b2, pose[3] += wa * j.a3 + wb * j.b3;
    pose[4] += wa * j.a4 + wb * j.b4, pose[5] += wa * j.a5 + wb * j.b5;
  }
  sums.hff += sum_lanes(own);
  sums.vf += sum_lanes(residual);
  for (int i = 0; i < 6; ++i) sums.hf[i] += sum_lanes(pose[i]);
}

template <typename T>
TARGET double sum(const T* values, int count) {
  Vec<T> total = {};
  for (int k = 0; k < count; k += kLanes<T>) total += load(values + k);
  return sum_lanes(total);
}

template <typename T, bool kAdd>
INLINE void put_rows(const Projected<T>& p, int count, T* rows) {
  for (int k = 0; k < count; k += kLanes<T>) {
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
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    store(row + k, load(row + k) + qa * load(p.fu + k) + qb * load(p.fv + k));
  }
}

template <typename T>
TARGET void add_point_sums(const Projected<T>& p, int count, T* curvature, T* slope) {
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> du = load(p.du + k), dv = load(p.dv + k);
    const Vec<T> qa = load(p.wu + k) * du, qb = load(p.wv + k) * dv;
    store(curvature + k, load(curvature + k) + qa * du + qb * dv);
    store(slope + k, load(slope + k) + qa * load(p.ru + k) + qb * load(p.rv + k));
  }
}

template <typename T>
TARGET void subtract_step(const Projected<T>& p, int count, const T* y, T f, T* slope) {
  for (int k = 0; k < count; k += kLanes<T>) {
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
