// The kernels of bundle adjustment, written once for all vector widths.
//
// Included by one source file for each instruction set, inside a namespace of its own, after it has defined TARGET (the
// attribute that lets functions use the set, so that no build flag is needed), VECTOR_BYTES, the gram kernel's block
// GRAM_ROWS x GRAM_COLUMNS (whose sums must fit the registers), and square_root and sum_lanes for vectors of float and
// of double.

#define INLINE TARGET __attribute__((always_inline)) inline

template <typename T>
struct Lanes;

template <>
struct Lanes<float> {
  typedef float Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));  // as many floats as there are lanes
  typedef std::int32_t Places __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::int32_t Int;
  static constexpr int kMantissaBits = 23;
  static constexpr int kBias = 127;
  static constexpr int kLogTerms = 5;
};

template <>
struct Lanes<double> {
  typedef double Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef float Floats __attribute__((vector_size(VECTOR_BYTES / 2)));
  typedef std::int32_t Places __attribute__((vector_size(VECTOR_BYTES / 2)));
  typedef std::int64_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::int64_t Int;
  static constexpr int kMantissaBits = 52;
  static constexpr int kBias = 1023;
  static constexpr int kLogTerms = 11;
};

template <typename T>
using Vec = typename Lanes<T>::Vec;

template <typename T>
constexpr int kLanes = VECTOR_BYTES / sizeof(T);

template <typename T>
INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <typename T>
INLINE void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof(v));
}

template <typename T>
INLINE Vec<T> load_floats(const float* from) {
  typename Lanes<T>::Floats v;
  std::memcpy(&v, from, sizeof(v));
  return __builtin_convertvector(v, Vec<T>);
}

// Splits pairs.
template <typename T>
INLINE void load_pairs(const float* from, Vec<T>& first, Vec<T>& second) {
  typedef typename Lanes<T>::Floats Floats;
  Floats even, odd;
#if defined(__clang__)
  for (int i = 0; i < kLanes<T>; ++i) even[i] = from[2 * i], odd[i] = from[2 * i + 1];
#else
  Floats low, high;
  std::memcpy(&low, from, sizeof(low));
  std::memcpy(&high, from + kLanes<T>, sizeof(high));
  typename Lanes<T>::Places places;
  for (int i = 0; i < kLanes<T>; ++i) places[i] = 2 * i;
  even = __builtin_shuffle(low, high, places);
  odd = __builtin_shuffle(low, high, places + 1);
#endif
  first = __builtin_convertvector(even, Vec<T>);
  second = __builtin_convertvector(odd, Vec<T>);
}

// log(1 + v) for v >= 0: 1 + v = 2^e m with m near 1, and log m = 2 atanh((m - 1) / (m + 1)) by its series.
template <typename T>
INLINE Vec<T> log_of_one_plus(Vec<T> v) {
  typedef typename Lanes<T>::Ints Ints;
  typedef typename Lanes<T>::Int Int;
  constexpr int kBits = Lanes<T>::kMantissaBits;
  constexpr Int kOne = Int(Lanes<T>::kBias) << kBits;
  const Vec<T> sum = v + T(1);
  const Ints bits = (Ints)sum;
  Ints exponent = (bits >> kBits) - Int(Lanes<T>::kBias);
  Vec<T> mantissa = (Vec<T>)((bits & ((Int(1) << kBits) - 1)) | kOne);
  const Ints upper = mantissa > T(1.4142135623730951);
  mantissa = upper ? mantissa * T(0.5) : mantissa;
  exponent -= upper;
  const Vec<T> above = exponent == 0 ? v : mantissa - T(1);
  const Vec<T> z = above / (above + T(2));
  const Vec<T> z2 = z * z;
  Vec<T> series = z2 * T(0) + T(1) / T(2 * Lanes<T>::kLogTerms - 1);
  for (int i = Lanes<T>::kLogTerms - 1; i > 0; --i) series = series * z2 + T(1) / T(2 * i - 1);
  return T(2) * z * series + __builtin_convertvector(exponent, Vec<T>) * T(0.6931471805599453);
}

TARGET bool any_weight(const float* weight, int count) {
  constexpr int kBlock = 32;
  for (int first = 0; first < count; first += kBlock) {
    std::uint32_t any = 0;
    for (int i = first; i < std::min(first + kBlock, count); ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, weight + i, sizeof(bits));
      any |= bits << 1;  // without the sign: of both zeros
    }
    if (any) return true;
  }
  return false;
}

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
  float targets[2 * kWidth] = {};
  float weights[2 * kWidth] = {};
  const int left = from.count - first;
  if (__builtin_expect(left < kWidth, 0)) {
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
TARGET bool project(const TilePoints<T>& points, const EdgeModel<T>& model, const Observations& observations,
                    Projected<T>& out) {
  typedef typename Lanes<T>::Ints Ints;
  if (!any_weight(observations.weight, observations.count * observations.channels)) return false;
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
  return true;
}

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

template <typename T>
TARGET void add_pose_sums(const Projected<T>& p, int count, PoseSums& sums) {
  // In two passes, so that the sums stay in registers.
  Vec<T> first[12] = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    const Vec<T> wa = load(p.wu + k) * j.h, wb = load(p.wv + k) * j.h;
    first[0] += wa * j.h, first[1] += wa * j.a2, first[2] += wa * j.a3, first[3] += wa * j.a4, first[4] += wa * j.a5;
    first[5] += wb * j.h, first[6] += wb * j.b2, first[7] += wb * j.b3, first[8] += wb * j.b4, first[9] += wb * j.b5;
    first[10] += wa * load(p.ru + k), first[11] += wb * load(p.rv + k);
  }
  constexpr int kFirst[12] = {0, 2, 3, 4, 5, 7, 8, 9, 10, 11};
  for (int i = 0; i < 10; ++i) sums.h[kFirst[i]] += sum_lanes(first[i]);
  sums.v[0] += sum_lanes(first[10]);
  sums.v[1] += sum_lanes(first[11]);

  Vec<T> second[14] = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const PoseRows<T> j = pose_rows(p, k);
    const Vec<T> wu = load(p.wu + k), wv = load(p.wv + k), ru = load(p.ru + k), rv = load(p.rv + k);
    const Vec<T> a2 = wu * j.a2, b2 = wv * j.b2;
    second[0] += a2 * j.a2 + b2 * j.b2, second[1] += a2 * j.a3 + b2 * j.b3, second[2] += a2 * j.a4 + b2 * j.b4;
    second[3] += a2 * j.a5 + b2 * j.b5, second[10] += a2 * ru + b2 * rv;
    const Vec<T> a3 = wu * j.a3, b3 = wv * j.b3;
    second[4] += a3 * j.a3 + b3 * j.b3, second[5] += a3 * j.a4 + b3 * j.b4, second[6] += a3 * j.a5 + b3 * j.b5;
    second[11] += a3 * ru + b3 * rv;
    const Vec<T> a4 = wu * j.a4, b4 = wv * j.b4;
    second[7] += a4 * j.a4 + b4 * j.b4, second[8] += a4 * j.a5 + b4 * j.b5, second[12] += a4 * ru + b4 * rv;
    const Vec<T> a5 = wu * j.a5, b5 = wv * j.b5;
    second[9] += a5 * j.a5 + b5 * j.b5, second[13] += a5 * ru + b5 * rv;
  }
  constexpr int kSecond[10] = {14, 15, 16, 17, 21, 22, 23, 28, 29, 35};
  for (int i = 0; i < 10; ++i) sums.h[kSecond[i]] += sum_lanes(second[i]);
  for (int i = 0; i < 4; ++i) sums.v[2 + i] += sum_lanes(second[10 + i]);
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

template <typename T>
TARGET void keep_costs(const Projected<T>& p, int count, T* costs) {
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> zero = Vec<T>{};
    store(costs + k, load(p.wu + k) + load(p.wv + k) > zero ? load(p.cost + k) : zero - T(1));
  }
}

template <typename T>
TARGET void compare_costs(const Projected<T>& p, int count, const T* kept, double& before, double& now) {
  const Vec<T> zero = Vec<T>{};
  Vec<T> sum_before = {}, sum_now = {};
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> old = load(kept + k);
    const Vec<T> cost = load(p.wu + k) + load(p.wv + k) > zero ? load(p.cost + k) : old;
    sum_before += old >= zero ? old : zero;
    sum_now += old >= zero ? cost : zero;
  }
  before += sum_lanes(sum_before);
  now += sum_lanes(sum_now);
}

template <typename T>
TARGET void scale_row(const T* factors, int count, T* row) {
  for (int k = 0; k < count; k += kLanes<T>) store(row + k, load(row + k) * load(factors + k));
}

template <typename T, int kRows, int kColumns>
INLINE void add_gram_block(const T* const* rows, const int* index, int r0, int c0, int count, int size, double* out) {
  Vec<T> sums[kRows][kColumns];
  for (auto& row : sums) {
    for (auto& sum : row) sum = Vec<T>{};
  }
  for (int k = 0; k < count; k += kLanes<T>) {
    Vec<T> columns[kColumns];
    for (int c = 0; c < kColumns; ++c) columns[c] = load(rows[c0 + c] + k);
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> row = load(rows[r0 + r] + k);
      for (int c = 0; c < kColumns; ++c) sums[r][c] += row * columns[c];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns && c0 + c <= r0 + r; ++c) {
      out[index[r0 + r] * size + index[c0 + c]] += sum_lanes(sums[r][c]);
    }
  }
}

template <typename T>
TARGET void add_gram(const T* const* rows, const int* index, int row_count, int count, int size, double* out) {
  int r = 0;
  for (; r + GRAM_ROWS <= row_count; r += GRAM_ROWS) {
    int c = 0;
    for (; c + GRAM_COLUMNS <= r + GRAM_ROWS; c += GRAM_COLUMNS) {
      add_gram_block<T, GRAM_ROWS, GRAM_COLUMNS>(rows, index, r, c, count, size, out);
    }
    for (; c < r + GRAM_ROWS; ++c) add_gram_block<T, GRAM_ROWS, 1>(rows, index, r, c, count, size, out);
  }
  for (; r < row_count; ++r) {
    int c = 0;
    for (; c + GRAM_COLUMNS <= r + 1; c += GRAM_COLUMNS) {
      add_gram_block<T, 1, GRAM_COLUMNS>(rows, index, r, c, count, size, out);
    }
    for (; c <= r; ++c) add_gram_block<T, 1, 1>(rows, index, r, c, count, size, out);
  }
}

TARGET double dot(const double* a, const double* b, int count) {
  constexpr int kStep = 4 * kLanes<double>;
  Vec<double> sums[4] = {};
  int k = 0;
  for (; k + kStep <= count; k += kStep) {
    for (int i = 0; i < 4; ++i) {
      const int at = k + i * kLanes<double>;
      sums[i] += load(a + at) * load(b + at);
    }
  }
  double rest = 0;
  for (; k < count; ++k) rest += a[k] * b[k];
  return rest + sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <typename T>
Kernels<T> make_kernels() {
  return {project<T>,        add_pose_sums<T>, add_focal_sums<T>, sum<T>,           put_pose_rows<T>,
          add_focal_row<T>,  add_point_sums<T>, subtract_step<T>, keep_costs<T>,    compare_costs<T>,
          scale_row<T>,      add_gram<T>,       dot};
}
