// Depth consistency of frame pairs: losses and gradients in one pass, one thread per pixel of a frame, over the pairs
// that start in it. Gradients of the second frame are added in fixed point, so that the sum does not depend on the
// order.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256, kSums = 2;
constexpr float kMinDepth = 0.1f, kLogWeight = 0.25f, kMinInverse = 1e-3f, kMaxInverse = 1e2f;

struct Sample {
  int64_t at[4];
  float weight[4];
  float value;
};

__device__ Sample Bilinear(const float* map, float x, float y, int width, int height) {
  Sample s;
  s.value = 0;
  const float fx0 = floorf(fminf(fmaxf(x, -4.0f), width + 4.0f)), fy0 = floorf(fminf(fmaxf(y, -4.0f), height + 4.0f));
  const int x0 = static_cast<int>(fx0), y0 = static_cast<int>(fy0);
  const float fx = x - fx0, fy = y - fy0;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int u = x0 + k % 2, v = y0 + k / 2;
    const bool inside = u >= 0 && u < width && v >= 0 && v < height;
    s.at[k] = inside ? int64_t{v} * width + u : -1;
    s.weight[k] = (k % 2 ? fx : 1 - fx) * (k / 2 ? fy : 1 - fy);
    if (inside) s.value += s.weight[k] * map[s.at[k]];
  }
  return s;
}

__global__ void __launch_bounds__(kThreads)
    PairLoss(const float* __restrict__ inverse_depth, const float* __restrict__ confidence,
             const __half2* __restrict__ flow, const uint8_t* __restrict__ mask, const float* __restrict__ motion,
             const int64_t* __restrict__ second, const int64_t* __restrict__ first_pair,
             const float* __restrict__ camera, float* __restrict__ own, unsigned long long* __restrict__ other,
             float* __restrict__ by_confidence, double* __restrict__ sums, int width, int height, float flow_weight,
             float fixed_point) {
  const int64_t pixels = int64_t{width} * height, frame = blockIdx.y;
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  double counted = 0, loss = 0;
  if (k < pixels) {
    const float px = static_cast<float>(k % width), py = static_cast<float>(k / width);
    const float fx = camera[0], fy = camera[1], cx = camera[2], cy = camera[3];
    const float d = inverse_depth[frame * pixels + k], u = confidence[frame * pixels + k], z = 1 / d;
    const float log_term = kLogWeight * -logf(u);
    float by_z = 0, by_u = 0;
    for (int64_t pair = first_pair[frame]; pair < first_pair[frame + 1]; ++pair) {
      if (!mask[pair * pixels + k]) continue;
      const float* m = motion + 12 * pair;
      const float ax = m[0] * px + m[1] * py + m[2], ay = m[3] * px + m[4] * py + m[5];
      const float az = m[6] * px + m[7] * py + m[8];
      const float x = z * ax + m[9], y = z * ay + m[10], depth = z * az + m[11];
      if (!(depth > kMinDepth)) continue;
      const float2 step = __half22float2(flow[pair * pixels + k]);
      const float qx = px + step.x, qy = py + step.y;
      const float* map = inverse_depth + second[pair] * pixels;
      const Sample s = Bilinear(map, qx, qy, width, height);
      const float seen = fminf(fmaxf(s.value, kMinInverse), kMaxInverse);
      const float far = fminf(depth, 1e3f), expected = 1 / far;
      const bool nearer = seen >= expected;
      const float ratio = nearer ? seen / expected : expected / seen;
      const float inverse = 1 / far;
      const float ex = (fx * x + cx * depth) * inverse - qx, ey = (fy * y + cy * depth) * inverse - qy;
      const float error = fabsf(ex) + fabsf(ey);
      counted += 1;
      loss += (ratio - 1) * u + log_term + flow_weight * (error * u / 2 + log_term);
      by_u += (ratio - 1) + flow_weight * error / 2 - (1 + flow_weight) * kLogWeight / u;
      const float by_seen = nearer ? 1 / expected : -expected / (seen * seen);
      const float by_expected = nearer ? -seen / (expected * expected) : 1 / seen;
      const float moves = depth < 1e3f ? az : 0.0f;
      const float by_x = (fx * ax + cx * az - (ex + qx) * moves) * inverse;
      const float by_y = (fy * ay + cy * az - (ey + qy) * moves) * inverse;
      const float sign_x = ex > 0 ? 1.0f : ex < 0 ? -1.0f : 0.0f, sign_y = ey > 0 ? 1.0f : ey < 0 ? -1.0f : 0.0f;
      by_z += u * (-by_expected * moves * expected * expected + flow_weight * (sign_x * by_x + sign_y * by_y) / 2);
      if (s.value > kMinInverse && s.value < kMaxInverse) {
        unsigned long long* target = other + second[pair] * pixels;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (s.at[c] >= 0) {
            const long long part = __float2ll_rn(u * by_seen * s.weight[c] * fixed_point);
            atomicAdd(target + s.at[c], static_cast<unsigned long long>(part));
          }
        }
      }
    }
    own[frame * pixels + k] = -by_z * z * z;
    by_confidence[frame * pixels + k] = by_u;
  }
  __shared__ double partial[kThreads / 32][kSums];
  for (int step = 16; step > 0; step /= 2) {
    counted += __shfl_down_sync(0xffffffffu, counted, step);
    loss += __shfl_down_sync(0xffffffffu, loss, step);
  }
  if (threadIdx.x % 32 == 0) {
    partial[threadIdx.x / 32][0] = counted;
    partial[threadIdx.x / 32][1] = loss;
  }
  __syncthreads();
  if (threadIdx.x < kSums) {
    double value = 0;
    for (int w = 0; w < kThreads / 32; ++w) value += partial[w][threadIdx.x];
    sums[(frame * gridDim.x + blockIdx.x) * kSums + threadIdx.x] = value;
  }
}

}  // namespace

extern "C" int sb_pair_loss(const void* inverse_depth, const void* confidence, const void* flow, const void* mask,
                            const void* motion, const void* second, const void* first_pair, const void* camera,
                            void* own, void* other, void* by_confidence, void* sums, int64_t frames, int64_t width,
                            int64_t height, float flow_weight, float fixed_point, void* stream) {
  const auto blocks = static_cast<unsigned>((width * height + kThreads - 1) / kThreads);
  PairLoss<<<dim3(blocks, static_cast<unsigned>(frames)), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const float*>(inverse_depth), static_cast<const float*>(confidence),
      static_cast<const __half2*>(flow), static_cast<const uint8_t*>(mask), static_cast<const float*>(motion),
      static_cast<const int64_t*>(second), static_cast<const int64_t*>(first_pair), static_cast<const float*>(camera),
      static_cast<float*>(own), static_cast<unsigned long long*>(other), static_cast<float*>(by_confidence),
      static_cast<double*>(sums), static_cast<int>(width), static_cast<int>(height), flow_weight, fixed_point);
  return cudaGetLastError();
}
