// The projection of a tile's points by an edge: a part of bundle_kernels_body.hpp.

template <typename T>
TARGET void load_points(const float* pixels, const double* inverse_depth, const double* intrinsics, int count,
                        TilePoints<T>& out) {
  set_points(pixels, inverse_depth, intrinsics, count, out);
}

// Asks memory for what the next call will read at the same place: without it a step takes half as long again.
template <typename T>
INLINE void prefetch(const Observations& observations, int k) {
  constexpr int kLine = 64 / sizeof(float);
  for (int i = 0; i < 2 * kLanes<T>; i += kLine) {
    __builtin_prefetch(observations.next_target + 2 * k + i);
    __builtin_prefetch(observations.next_weight + observations.channels * k + i);
  }
}

// The observations from `first` on, copied and padded with weights of 0 where fewer are left than a vector has lanes.
template <typename T>
INLINE void load_observations(const Observations& from, int first, Vec<T>& tu, Vec<T>& tv, Vec<T>& wu, Vec<T>& wv) {
  constexpr int kWidth = kLanes<T>;
  const float* target = from.target + 2 * first;
  const float* weight = from.weight + from.channels * first;
  float targets[2 * kWidth];
  float weights[2 * kWidth];
  const int left = from.count - first;
  if (__builtin_expect(left < kWidth, 0)) {
    std::memset(targets, 0, sizeof(targets));
    std::memset(weights, 0, sizeof(weights));
    std::memcpy(targets, target, 2 * left * sizeof(float));
    std::memcpy(weights, weight, from.channels * left * sizeof(float));
    target = targets;
    weight = weights;
  }
  load_pairs<T>(target, tu, tv);
  if (from.channels == 2) {
    load_pairs<T>(weight, wu, wv);
  } else {
    wu = wv = load_floats<T>(weight);
  }
}

// Points in the target as in `Projected`, 1 / Z, and what of X, Y and Z comes from the rays' slopes alone.
template <typename T>
struct InTarget {
  Vec<T> x, y, h, wu, wv, pu, pv, ru, rv, cost;
  Vec<T> inverse_z, slope_x, slope_y, slope_z;
};

// Multiplies weights by the robust kernel's slope and sets the cost. With w the mean of both weights the cost is
// w rho(s), s in px^2: for equal weights the squared residual.
template <typename T, RobustKernel kKernel>
INLINE void make_robust(const EdgeModel<T>& model, Vec<T> wu, Vec<T> wv, InTarget<T>& p) {
  typedef typename Lanes<T>::Ints Ints;
  const Vec<T> zero = Vec<T>{};
  const Vec<T> mean = T(0.5) * (wu + wv);
  const Vec<T> s = p.cost / (mean > zero ? mean : zero + T(1));
  Vec<T> slope;
  if (kKernel == RobustKernel::kHuber) {
    const Ints outer = s > model.kernel_px2;
    const Vec<T> root = square_root(outer ? model.kernel_px2 * s : zero + T(1));
    slope = outer ? model.kernel_px2 / root : zero + T(1);
    p.cost = outer ? mean * (T(2) * root - model.kernel_px2) : p.cost;
  } else {
    const Vec<T> ratio = s * model.per_kernel_px2;
    slope = T(1) / (T(1) + ratio);
    p.cost = mean * model.kernel_px2 * log_of_one_plus<T>(ratio);
  }
  p.wu *= slope, p.wv *= slope;
  p.pu *= slope, p.pv *= slope;
}

// The points from `k` on. A number that is not finite shows in its difference from itself, which is not a number then
// and fails every comparison.
template <typename T, RobustKernel kKernel>
INLINE InTarget<T> in_target(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                             int k) {
  const T* r = model.rotation;
  const T* t = model.translation;
  const Vec<T> zero = Vec<T>{};
  if (observations.next_target) prefetch<T>(observations, k);
  Vec<T> tu, tv, wu, wv;
  load_observations<T>(observations, k, tu, tv, wu, wv);
  const Vec<T> px = load(points.x + k), py = load(points.y + k), d = load(points.d + k);
  InTarget<T> p;
  p.slope_x = r[0] * px + r[1] * py;
  p.slope_y = r[3] * px + r[4] * py;
  p.slope_z = r[6] * px + r[7] * py;
  const Vec<T> z = p.slope_z + (r[8] + t[2] * d);
  const typename Lanes<T>::Ints seen = z + ((tu - tu) + (tv - tv)) >= model.min_depth_ratio;
  wu = seen & (wu + (wu - wu) > zero) ? wu : zero;
  wv = seen & (wv + (wv - wv) > zero) ? wv : zero;
  p.inverse_z = seen ? T(1) / z : zero;
  p.x = (p.slope_x + (r[2] + t[0] * d)) * p.inverse_z;
  p.y = (p.slope_y + (r[5] + t[1] * d)) * p.inverse_z;
  p.h = d * p.inverse_z;
  p.ru = seen ? tu * model.scale_u - (model.shift_u + p.x) : zero;
  p.rv = seen ? tv * model.scale_v - (model.shift_v + p.y) : zero;
  p.wu = wu * model.square_u, p.wv = wv * model.square_v;
  p.pu = p.wu * p.ru, p.pv = p.wv * p.rv;
  p.cost = p.pu * p.ru + p.pv * p.rv;
  if (kKernel != RobustKernel::kNone) make_robust<T, kKernel>(model, wu, wv, p);
  return p;
}

template <typename T, RobustKernel kKernel>
INLINE double project_by(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                         Projected<T>& out) {
  const T* t = model.translation;
  Vec<T> cost = {};
  for (int k = 0; k < observations.count; k += kLanes<T>) {
    const InTarget<T> p = in_target<T, kKernel>(points, model, observations, k);
    store(out.x + k, p.x), store(out.y + k, p.y), store(out.h + k, p.h);
    store(out.wu + k, p.wu), store(out.wv + k, p.wv), store(out.pu + k, p.pu), store(out.pv + k, p.pv);
    store(out.cost + k, p.cost);
    cost += p.cost;
    if (model.with_residuals) store(out.ru + k, p.ru), store(out.rv + k, p.rv);
    if (model.with_points) {
      store(out.du + k, (t[0] - t[2] * p.x) * p.inverse_z);
      store(out.dv + k, (t[1] - t[2] * p.y) * p.inverse_z);
    }
    if (model.with_focal) {
      store(out.fu + k, p.x - (p.slope_x - p.x * p.slope_z) * p.inverse_z);
      store(out.fv + k, p.y - (p.slope_y - p.y * p.slope_z) * p.inverse_z);
    }
  }
  return sum_lanes(cost);
}

template <typename T>
TARGET double project(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                      Projected<T>& out) {
  switch (model.kernel) {
    case RobustKernel::kNone:
      return project_by<T, RobustKernel::kNone>(points, model, observations, out);
    case RobustKernel::kHuber:
      return project_by<T, RobustKernel::kHuber>(points, model, observations, out);
    default:
      return project_by<T, RobustKernel::kCauchy>(points, model, observations, out);
  }
}
