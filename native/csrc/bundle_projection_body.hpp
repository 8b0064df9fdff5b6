// The projection of a tile's points by an edge: a part of bundle_kernels_body.hpp.

// Asks memory for what the next call will read at the same place: tiles of different edges lie far apart.
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

// Lanes that are finite: for others x - x is not a number.
template <typename T>
INLINE typename Lanes<T>::Ints is_finite(Vec<T> v) {
  return v - v == T(0);
}

template <typename T>
TARGET void project(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                    Projected<T>& out) {
  typedef typename Lanes<T>::Ints Ints;
  const T* r = model.rotation;
  const T* t = model.translation;
  const T scale_u = 1 / model.fx, scale_v = 1 / model.fy;
  const T shift_u = model.cx / model.fx, shift_v = model.cy / model.fy;
  const T square_u = model.fx * model.fx, square_v = model.fy * model.fy;
  for (int k = 0; k < observations.count; k += kLanes<T>) {
    const Vec<T> zero = Vec<T>{};
    if (observations.next_target) prefetch<T>(observations, k);
    Vec<T> tu, tv, wu, wv;
    load_observations<T>(observations, k, tu, tv, wu, wv);
    const Vec<T> px = load(points.x + k), py = load(points.y + k), d = load(points.d + k);
    const Vec<T> x = r[0] * px + r[1] * py + r[2] + t[0] * d;
    const Vec<T> y = r[3] * px + r[4] * py + r[5] + t[1] * d;
    Vec<T> z = r[6] * px + r[7] * py + r[8] + t[2] * d;
    const Ints seen = (z >= model.min_depth_ratio) & is_finite<T>(tu) & is_finite<T>(tv);
    wu = seen & (wu > zero) & is_finite<T>(wu) ? wu : zero;
    wv = seen & (wv > zero) & is_finite<T>(wv) ? wv : zero;
    z = seen ? z : zero + T(1);
    const Vec<T> inverse_z = T(1) / z;
    const Vec<T> xn = x * inverse_z, yn = y * inverse_z;
    const Vec<T> ru = seen ? tu * scale_u - shift_u - xn : zero;
    const Vec<T> rv = seen ? tv * scale_v - shift_v - yn : zero;
    Vec<T> au = wu * square_u, av = wv * square_v;
    Vec<T> cost = au * ru * ru + av * rv * rv;
    if (model.kernel != RobustKernel::kNone) {
      // With w the mean of both weights the cost is w rho(s), s in px^2: for equal weights the squared residual.
      const Vec<T> mean = T(0.5) * (wu + wv);
      const Vec<T> s = cost / (mean > zero ? mean : zero + T(1));
      Vec<T> slope;
      if (model.kernel == RobustKernel::kHuber) {
        const Ints outer = s > model.kernel_px2;
        const Vec<T> root = square_root(outer ? model.kernel_px2 * s : zero + T(1));
        slope = outer ? model.kernel_px2 / root : zero + T(1);
        cost = outer ? mean * (T(2) * root - model.kernel_px2) : cost;
      } else {
        const Vec<T> ratio = s * (1 / model.kernel_px2);
        slope = T(1) / (T(1) + ratio);
        cost = mean * model.kernel_px2 * log_of_one_plus<T>(ratio);
      }
      au *= slope;
      av *= slope;
    }
    store(out.x + k, xn), store(out.y + k, yn), store(out.h + k, d * inverse_z);
    store(out.wu + k, au), store(out.wv + k, av), store(out.ru + k, ru), store(out.rv + k, rv);
    store(out.du + k, (t[0] - t[2] * xn) * inverse_z), store(out.dv + k, (t[1] - t[2] * yn) * inverse_z);
    store(out.cost + k, cost);
    if (model.with_focal) {
      const Vec<T> qx = r[2] + t[0] * d - x, qy = r[5] + t[1] * d - y, qz = r[8] + t[2] * d - z;
      store(out.fu + k, xn + (qx - xn * qz) * inverse_z);
      store(out.fv + k, yn + (qy - yn * qz) * inverse_z);
    }
  }
}
