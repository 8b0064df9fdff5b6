// Normal equations of projected points: part of bundle_kernels_body.hpp.

// Nonzero entries of the Jacobian rows a and b with respect to the target's pose.
template <typename T>
struct PoseRows {
  Vec<T> h, a2, a3, a4, a5, b2, b3, b4, b5;
};

template <typename T>
INLINE PoseRows<T> pose_rows(const Projected<T>& p, std::ptrdiff_t k) {
  const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k);
  const Vec<T> xy = x * y;
  return {h, -h * x, -xy, fused(x, x, filled(T(1))), -y, -h * y, fused(-y, y, filled(T(-1))), xy, x};
}

// With g the rows of the projection's Jacobian, [1, 0, -x] and [0, 1, -y], G = wu gu gu^T + wv gv gv^T and
// P = [x, y, 1], J^T W J of a pose consists of h^2 G, h N with N = G x P (rowwise) and P x N (columnwise), which share
// most products. `motion_terms` maps sums to entries.
template <typename T>
TARGET void add_pose_sums(const Projected<T>& p, const Observations& observations, PoseSums& sums) {
  const float* next_weight = observations.next_weight;
  const bool two_weights = observations.channels == 2;
  const int count = observations.count;
  LaneSums<T, kMotionSums> all;
  for (int part = 0; part < kParts; ++part) {
    Vec<T> total[kMotionSums];
    set_to_zero<T>(total);
    for (std::ptrdiff_t k = part * kLanes<T>; k < count; k += kSumLanes<T>) {
      if (next_weight) two_weights ? prefetch<T, 2>(next_weight, k) : prefetch<T, 1>(next_weight, k);
      const Vec<T> x = load(p.x + k), y = load(p.y + k), h = load(p.h + k), wu = load(p.wu + k), wv = load(p.wv + k);
      const Vec<T> pu = load(p.pu + k), pv = load(p.pv + k);
      const Vec<T> along = fused(x, pu, y * pv);
      add_product<T>(total[19], h, pu), add_product<T>(total[20], h, pv), add_product<T>(total[21], h, along);
      total[22] += fused(y, along, pv), total[23] += fused(x, along, pu);
      add_product<T>(total[24], x, pv), add_product<T>(total[24], -y, pu);
      const Vec<T> ux = wu * x, vy = wv * y, vyy = vy * y;
      const Vec<T> square = fused(ux, x, vyy), nu = fused(ux, x, wu), nv = wv + vyy, hh = h * h;
      add_product<T>(total[0], hh, wu), add_product<T>(total[1], hh, wv), add_product<T>(total[2], hh, ux);
      add_product<T>(total[3], hh, vy), add_product<T>(total[4], hh, square);
      const Vec<T> n2u = x * (wu + square), n2v = y * (wv + square);
      add_product<T>(total[6], h, nu), add_product<T>(total[8], h, nv);
      add_product<T>(total[11], h, n2v), add_product<T>(total[12], h, n2u);
      total[13] += fused(y, n2v, nv), total[16] += fused(x, n2u, nu);
      const Vec<T> uy = wu * y, vx = wv * x, uxy = ux * y, vxy = vx * y;
      const Vec<T> rotated = uxy - vxy;
      add_product<T>(total[5], h, uxy), add_product<T>(total[7], h, uy);
      add_product<T>(total[9], h, vxy), add_product<T>(total[10], h, vx);
      total[14] += fused(x, n2v, uxy), total[15] += fused(y, rotated, -vx), total[17] += fused(x, rotated, uy);
      add_product<T>(total[18], uy, y), add_product<T>(total[18], vx, x);
    }
    all.put(part, total);
  }
  all.add_to(sums.motion);
}

template <typename T>
TARGET void add_focal_sums(const Projected<T>& p, int count, bool with_poses, PoseSums& sums) {
  LaneSums<T, kFocalSums> all;
  for (int part = 0; part < kParts; ++part) {
    Vec<T> total[kFocalSums];
    set_to_zero<T>(total);
    for (std::ptrdiff_t k = part * kLanes<T>; k < count; k += kSumLanes<T>) {
      const Vec<T> fu = load(p.fu + k), fv = load(p.fv + k);
      const Vec<T> wa = load(p.wu + k) * fu, wb = load(p.wv + k) * fv;
      add_product<T>(total[6], wa, fu), add_product<T>(total[6], wb, fv);
      add_product<T>(total[7], fu, load(p.pu + k)), add_product<T>(total[7], fv, load(p.pv + k));
      if (!with_poses) continue;
      const PoseRows<T> j = pose_rows(p, k);
      add_product<T>(total[0], wa, j.h), add_product<T>(total[1], wb, j.h);
      add_product<T>(total[2], wa, j.a2), add_product<T>(total[2], wb, j.b2);
      add_product<T>(total[3], wa, j.a3), add_product<T>(total[3], wb, j.b3);
      add_product<T>(total[4], wa, j.a4), add_product<T>(total[4], wb, j.b4);
      add_product<T>(total[5], wa, j.a5), add_product<T>(total[5], wb, j.b5);
    }
    all.put(part, total);
  }
  all.add_to(sums.focal);
}

template <typename T, bool kAdd>
INLINE void store_rows(const Projected<T>& p, int count, T* rows) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    const Vec<T> row[6] = {qa * j.h,
                           qb * j.h,
                           fused(qa, j.a2, qb * j.b2),
                           fused(qa, j.a3, qb * j.b3),
                           fused(qa, j.a4, qb * j.b4),
                           fused(qa, j.a5, qb * j.b5)};
    for (int i = 0; i < 6; ++i) {
      T* to = rows + i * kTile + k;
      store(to, kAdd ? load(to) + row[i] : row[i]);
    }
  }
}

template <typename T>
TARGET void store_pose_rows(const Projected<T>& p, int count, bool add, T* rows) {
  if (add) {
    store_rows<T, true>(p, count, rows);
  } else {
    store_rows<T, false>(p, count, rows);
  }
}

template <typename T>
TARGET void add_focal_row(const Projected<T>& p, int count, T* row) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    store(row + k, fused(qb, load(p.fv + k), fused(qa, load(p.fu + k), load(row + k))));
  }
}

template <typename T>
TARGET void add_point_sums(const Projected<T>& p, int count, T* hessian, T* gradient) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const Vec<T> du = load(p.du + k), dv = load(p.dv + k);
    const Vec<T> by_u = fused(load(p.wu + k) * du, du, load(hessian + k));
    store(hessian + k, fused(load(p.wv + k) * dv, dv, by_u));
    store(gradient + k, fused(load(p.pv + k), dv, fused(load(p.pu + k), du, load(gradient + k))));
  }
}

template <typename T>
TARGET void subtract_step(const Projected<T>& p, int count, const T* y, T f, T* gradient) {
  for (std::ptrdiff_t k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    Vec<T> du = fused(y[5], j.a5, fused(y[4], j.a4, fused(y[3], j.a3, fused(y[2], j.a2, y[0] * j.h))));
    Vec<T> dv = fused(y[5], j.b5, fused(y[4], j.b4, fused(y[3], j.b3, fused(y[2], j.b2, y[1] * j.h))));
    if (f != 0) {
      du = fused(f, load(p.fu + k), du);
      dv = fused(f, load(p.fv + k), dv);
    }
    const Vec<T> qa = load(p.wu + k) * load(p.du + k), qb = load(p.wv + k) * load(p.dv + k);
    store(gradient + k, fused(-qb, dv, fused(-qa, du, load(gradient + k))));
  }
}
