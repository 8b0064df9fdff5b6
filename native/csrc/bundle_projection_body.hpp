// Projection of a tile by an edge: part of bundle_kernels_body.hpp.

template <typename T>
TARGET void load_points(const float* pixels, const double* inverse_depth, const double* intrinsics, int count,
                        TilePoints<T>& out) {
  const T center_x = T(intrinsics[2]), center_y = T(intrinsics[3]);
  const T scale_x = T(1 / intrinsics[0]), scale_y = T(1 / intrinsics[1]);
  std::ptrdiff_t k = 0;
  for (; k + kLanes<T> <= count; k += kLanes<T>) {
    Vec<T> u, v;
    load_pairs<T>(pixels + 2 * k, u, v);
    store(out.x + k, (u - center_x) * scale_x);
    store(out.y + k, (v - center_y) * scale_y);
  }
  for (; k < count; ++k) {
    out.x[k] = (T(pixels[2 * k]) - center_x) * scale_x;
    out.y[k] = (T(pixels[2 * k + 1]) - center_y) * scale_y;
  }
  for (k = 0; k < count; ++k) out.d[k] = T(inverse_depth[k]);
  for (k = count; k < padded(count); ++k) out.x[k] = out.y[k] = out.d[k] = 0;
}

// Prefetches targets or weights of the next observations: targets during projection and weights during summation, so
// that memory bandwidth is used evenly.
template <typename T, int kChannels>
INLINE void prefetch(const float* next, std::ptrdiff_t k) {
  constexpr int kLine = 64 / sizeof(float);
  for (int i = 0; i < kChannels * kLanes<T>; i += kLine) __builtin_prefetch(next + kChannels * k + i);
}

template <typename T>
struct Observed {
  Vec<T> tu, tv, wu, wv;
};

template <typename T, int kChannels>
INLINE Observed<T> load_observations(const float* target, const float* weight) {
  Observed<T> o;
  load_pairs<T>(target, o.tu, o.tv);
  if (kChannels == 2) {
    load_pairs<T>(weight, o.wu, o.wv);
  } else {
    o.wu = o.wv = load_floats<T>(weight);
  }
  return o;
}

// The remaining observations, padded with weights of 0 to a whole vector.
template <typename T, int kChannels>
INLINE Observed<T> load_last_observations(const Observations& from, std::ptrdiff_t first) {
  float targets[2 * kLanes<T>] = {};
  float weights[2 * kLanes<T>] = {};
  const int left = from.count - first;
  std::memcpy(targets, from.target + 2 * first, 2 * left * sizeof(float));
  std::memcpy(weights, from.weight + kChannels * first, kChannels * left * sizeof(float));
  return load_observations<T, kChannels>(targets, weights);
}

// Points in the target as in `Projected`, 1 / Z, and their rays in the source.
template <typename T>
struct InTarget {
  Vec<T> x, y, h, wu, wv, pu, pv, ru, rv, cost;
  Vec<T> inverse_z, source_x, source_y;
};

// Robust loss: multiplies weights by rho'(s) and sets the cost w rho(s), with w the mean of both weights and s in px^2
// (for equal weights the squared residual).
template <typename T, RobustKernel kKernel>
INLINE void make_robust(const EdgeModel<T>& model, Vec<T> wu, Vec<T> wv, InTarget<T>& p) {
  typedef typename Lanes<T>::Ints Ints;
  const Vec<T> zero = Vec<T>{};
  const Vec<T> mean = T(0.5) * (wu + wv);
  const Vec<T> s = p.cost / (mean > zero ? mean : zero + T(1));
  Vec<T> robust_weight;
  if (kKernel == RobustKernel::kHuber) {
    const Ints outer = s > model.kernel_px2;
    const Vec<T> root = square_root(outer ? model.kernel_px2 * s : zero + T(1));
    robust_weight = outer ? model.kernel_px2 / root : zero + T(1);
    p.cost = outer ? mean * (T(2) * root - model.kernel_px2) : p.cost;
  } else {
    const Vec<T> ratio = s * model.inverse_kernel_px2;
    robust_weight = T(1) / (T(1) + ratio);
    p.cost = mean * model.kernel_px2 * log_of_one_plus<T>(ratio);
  }
  p.wu *= robust_weight, p.wv *= robust_weight;
  p.pu *= robust_weight, p.pv *= robust_weight;
}

// Projects the points from `k` on. For a non-finite x, x - x is NaN and fails every comparison.
template <typename T, RobustKernel kKernel>
INLINE InTarget<T> in_target(const TilePoints<T>& points, const EdgeModel<T>& model, const Observed<T>& o,
                             std::ptrdiff_t k) {
  typedef typename Lanes<T>::Ints Ints;
  const T* r = model.rotation;
  const T* t = model.translation;
  const Vec<T> zero = Vec<T>{};
  const Vec<T> px = load(points.x + k), py = load(points.y + k), d = load(points.d + k);
  InTarget<T> p;
  const Vec<T> z = fused(r[6], px, fused(r[7], py, fused(t[2], d, filled(r[8]))));
  const Vec<T> both = o.tu + o.tv;
  const Ints is_visible = z + (both - both) >= model.min_depth_ratio;
  const Ints is_valid_u = is_visible & (o.wu + (o.wu - o.wu) > zero);
  const Ints is_valid_v = is_visible & (o.wv + (o.wv - o.wv) > zero);
  p.inverse_z = is_visible ? T(1) / z : zero;
  p.x = fused(r[0], px, fused(r[1], py, fused(t[0], d, filled(r[2])))) * p.inverse_z;
  p.y = fused(r[3], px, fused(r[4], py, fused(t[1], d, filled(r[5])))) * p.inverse_z;
  p.h = d * p.inverse_z;
  p.ru = is_visible ? fused(model.scale_u, o.tu, -model.shift_u - p.x) : zero;
  p.rv = is_visible ? fused(model.scale_v, o.tv, -model.shift_v - p.y) : zero;
  p.wu = is_valid_u ? o.wu * model.square_u : zero;
  p.wv = is_valid_v ? o.wv * model.square_v : zero;
  p.pu = p.wu * p.ru, p.pv = p.wv * p.rv;
  p.cost = fused(p.pu, p.ru, p.pv * p.rv);
  p.source_x = px, p.source_y = py;
  if (kKernel != RobustKernel::kNone) {
    make_robust<T, kKernel>(model, is_valid_u ? o.wu : zero, is_valid_v ? o.wv : zero, p);
  }
  return p;
}

// `kOnlyPoses`: only the Jacobians of poses are requested.
template <typename T, bool kOnlyPoses>
INLINE void store_projected(const InTarget<T>& p, const EdgeModel<T>& model, std::ptrdiff_t k, Projected<T>& out) {
  store(out.x + k, p.x), store(out.y + k, p.y), store(out.h + k, p.h);
  store(out.wu + k, p.wu), store(out.wv + k, p.wv), store(out.pu + k, p.pu), store(out.pv + k, p.pv);
  if (kOnlyPoses) return;
  const T* t = model.translation;
  if (model.with_costs) store(out.cost + k, p.cost);
  if (model.with_residuals) store(out.ru + k, p.ru), store(out.rv + k, p.rv);
  if (model.with_points) {
    store(out.du + k, fused(-t[2], p.x, filled(t[0])) * p.inverse_z);
    store(out.dv + k, fused(-t[2], p.y, filled(t[1])) * p.inverse_z);
  }
  if (model.with_focal) {
    // The parts of X, Y and Z that depend on x and y of the ray.
    const T* r = model.rotation;
    const Vec<T> x = fused(r[0], p.source_x, r[1] * p.source_y), y = fused(r[3], p.source_x, r[4] * p.source_y);
    const Vec<T> z = fused(r[6], p.source_x, r[7] * p.source_y);
    store(out.fu + k, fused(fused(p.x, z, -x), p.inverse_z, p.x));
    store(out.fv + k, fused(fused(p.y, z, -y), p.inverse_z, p.y));
  }
}

template <typename T, RobustKernel kKernel, int kChannels, bool kOnlyPoses>
INLINE double project_tile(const TilePoints<T>& points, const EdgeModel<T>& given_model, const Observations& given,
                           Projected<T>& out) {
  const EdgeModel<T> model = given_model;  // a copy: stores cannot alias it
  const Observations observations = given;
  const float* next_weight = given.summed ? nullptr : given.next_weight;
  Vec<T> cost[kParts] = {};
  std::ptrdiff_t k = 0;
  for (; k + kLanes<T> <= observations.count; k += kLanes<T>) {
    if (observations.next_target) prefetch<T, 2>(observations.next_target, k);
    if (next_weight) prefetch<T, kChannels>(next_weight, k);
    const auto o = load_observations<T, kChannels>(observations.target + 2 * k, observations.weight + kChannels * k);
    const InTarget<T> p = in_target<T, kKernel>(points, model, o, k);
    store_projected<T, kOnlyPoses>(p, model, k, out);
    cost[k / kLanes<T> % kParts] += p.cost;
  }
  if (k < observations.count) {
    const auto o = load_last_observations<T, kChannels>(observations, k);
    const InTarget<T> p = in_target<T, kKernel>(points, model, o, k);
    store_projected<T, kOnlyPoses>(p, model, k, out);
    cost[k / kLanes<T> % kParts] += p.cost;
  }
  return sum_parts<T>(cost);
}

template <typename T, RobustKernel kKernel>
INLINE double project_dispatch(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                               Projected<T>& out) {
  const bool only_poses = !model.with_residuals && !model.with_costs && !model.with_points && !model.with_focal;
  if (observations.channels == 2) {
    return only_poses ? project_tile<T, kKernel, 2, true>(points, model, observations, out)
                      : project_tile<T, kKernel, 2, false>(points, model, observations, out);
  }
  return project_tile<T, kKernel, 1, false>(points, model, observations, out);
}

template <typename T>
TARGET double project(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                      Projected<T>& out) {
  switch (model.kernel) {
    case RobustKernel::kNone:
      return project_dispatch<T, RobustKernel::kNone>(points, model, observations, out);
    case RobustKernel::kHuber:
      return project_dispatch<T, RobustKernel::kHuber>(points, model, observations, out);
    default:
      return project_dispatch<T, RobustKernel::kCauchy>(points, model, observations, out);
  }
}
