// Pointwise operations between the convolutions of the update operator (DROID-SLAM), half precision, channels last: one
// row of channels per pixel.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kChannels = 128, kThreads = 256, kVector = 8, kPerLane = kChannels / 32;

struct alignas(16) Half8 {
  __half2 part[4];
};

struct alignas(8) Half4 {
  __half2 part[2];
};

__device__ float Sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

__device__ void Load(const __half* from, float* to) {
  const Half8 raw = *reinterpret_cast<const Half8*>(from);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float2 pair = __half22float2(raw.part[k]);
    to[2 * k] = pair.x;
    to[2 * k + 1] = pair.y;
  }
}

__device__ void Store(const float* from, __half* to) {
  Half8 raw;
#pragma unroll
  for (int k = 0; k < 4; ++k) raw.part[k] = __floats2half2_rn(from[2 * k], from[2 * k + 1]);
  *reinterpret_cast<Half8*>(to) = raw;
}

// gelu(norm(x + bias)) + residual, one warp per row. The bias may differ between nine regions of the image (corners,
// borders, interior).
__global__ void NormGelu(const __half* __restrict__ x, const float* __restrict__ bias, const float* __restrict__ weight,
                         const float* __restrict__ shift, const __half* __restrict__ residual, __half* __restrict__ out,
                         int64_t rows, int height, int width, int placed, float epsilon) {
  const int lane = threadIdx.x % 32, first = lane * kPerLane;
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (row >= rows) return;
  const float* own_bias = bias + first;
  if (placed) {
    const int64_t pixels = int64_t{height} * width, map = row / pixels, pixel = row % pixels;
    const int px = static_cast<int>(pixel % width), py = static_cast<int>(pixel / width);
    const int column = px == 0 ? 0 : px == width - 1 ? 2 : 1, line = py == 0 ? 0 : py == height - 1 ? 2 : 1;
    own_bias += (map * 9 + line * 3 + column) * kChannels;
  }
  const Half4 raw = *reinterpret_cast<const Half4*>(x + row * kChannels + first);
  const float2 a = __half22float2(raw.part[0]), b = __half22float2(raw.part[1]);
  float value[kPerLane] = {a.x, a.y, b.x, b.y};
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    value[k] += own_bias[k];
    sum += value[k];
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  const float mean = sum / kChannels;
  float square = 0;
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) square += (value[k] - mean) * (value[k] - mean);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) square += __shfl_xor_sync(0xffffffffu, square, step);
  const float scale = rsqrtf(square / kChannels + epsilon);
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    const float y = (value[k] - mean) * scale * weight[first + k] + shift[first + k];
    value[k] = 0.5f * y * (1.0f + erff(y * 0.70710678f));
  }
  if (residual) {
    const Half4 more = *reinterpret_cast<const Half4*>(residual + row * kChannels + first);
    const float2 c = __half22float2(more.part[0]), d = __half22float2(more.part[1]);
    value[0] += c.x, value[1] += c.y, value[2] += d.x, value[3] += d.y;
  }
  Half4 result;
  result.part[0] = __floats2half2_rn(value[0], value[1]);
  result.part[1] = __floats2half2_rn(value[2], value[3]);
  *reinterpret_cast<Half4*>(out + row * kChannels + first) = result;
}

// Sum of all gate inputs except the convolution of the hidden state, for eight channels.
__device__ void AddGiven(const __half* inputs, const __half* context, const float* global, int64_t row, int64_t edge,
                         int64_t context_row, int channel, float* value) {
  float more[kVector];
  Load(inputs + row * 3 * kChannels + channel, more);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] += more[k] + global[edge * 3 * kChannels + channel + k];
  Load(context + context_row * 3 * kChannels + channel, more);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] += more[k];
}

// update = sigmoid(own[0] + given[0]); reset net = sigmoid(own[1] + given[1]) net.
__global__ void GruGates(const __half* __restrict__ own, const __half* __restrict__ inputs,
                         const __half* __restrict__ context, const int64_t* __restrict__ source,
                         const float* __restrict__ global, const __half* __restrict__ net, __half* __restrict__ update,
                         __half* __restrict__ reset_net, int64_t rows, int64_t pixels) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = item / (kChannels / kVector);
  const int channel = static_cast<int>(item % (kChannels / kVector)) * kVector;
  if (row >= rows) return;
  const int64_t edge = row / pixels, context_row = source[edge] * pixels + row % pixels;
  float value[kVector], state[kVector];
  Load(own + row * 2 * kChannels + channel, value);
  AddGiven(inputs, context, global, row, edge, context_row, channel, value);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] = Sigmoid(value[k]);
  Store(value, update + row * kChannels + channel);
  Load(own + row * 2 * kChannels + kChannels + channel, value);
  AddGiven(inputs, context, global, row, edge, context_row, kChannels + channel, value);
  Load(net + row * kChannels + channel, state);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] = Sigmoid(value[k]) * state[k];
  Store(value, reset_net + row * kChannels + channel);
}

// net + update (tanh(own + given[2]) - net).
__global__ void GruState(const __half* __restrict__ own, const __half* __restrict__ inputs,
                         const __half* __restrict__ context, const int64_t* __restrict__ source,
                         const float* __restrict__ global, const __half* __restrict__ update,
                         const __half* __restrict__ net, __half* __restrict__ out, int64_t rows, int64_t pixels) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = item / (kChannels / kVector);
  const int channel = static_cast<int>(item % (kChannels / kVector)) * kVector;
  if (row >= rows) return;
  const int64_t edge = row / pixels, context_row = source[edge] * pixels + row % pixels;
  float value[kVector], state[kVector], share[kVector];
  Load(own + row * kChannels + channel, value);
  AddGiven(inputs, context, global, row, edge, context_row, 2 * kChannels + channel, value);
  Load(net + row * kChannels + channel, state);
  Load(update + row * kChannels + channel, share);
#pragma unroll
  for (int k = 0; k < kVector; ++k) value[k] = state[k] + share[k] * (tanhf(value[k]) - state[k]);
  Store(value, out + row * kChannels + channel);
}

// Sums sigmoid(gate + bias) net over a part of an edge's pixels in float; parts are added afterwards.
__global__ void __launch_bounds__(kThreads)
    GatedSum(const __half* __restrict__ gate, const float* __restrict__ bias, const __half* __restrict__ net,
             float* __restrict__ out, int64_t pixels) {
  constexpr int kColumns = kChannels / kVector, kLines = kThreads / kColumns;
  __shared__ float partial[kLines][kChannels];
  const int column = threadIdx.x % kColumns, line = threadIdx.x / kColumns;
  const int64_t edge = blockIdx.x, parts = gridDim.y;
  const int64_t begin = pixels * blockIdx.y / parts, end = pixels * (blockIdx.y + 1) / parts;
  float sum[kVector] = {}, g[kVector], state[kVector];
  for (int64_t pixel = begin + line; pixel < end; pixel += kLines) {
    const int64_t at = (edge * pixels + pixel) * kChannels + column * kVector;
    Load(gate + at, g);
    Load(net + at, state);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += Sigmoid(g[k] + bias[column * kVector + k]) * state[k];
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) partial[line][column * kVector + k] = sum[k];
  __syncthreads();
  if (threadIdx.x < kChannels) {
    float total = 0;
    for (int k = 0; k < kLines; ++k) total += partial[k][threadIdx.x];
    out[(edge * parts + blockIdx.y) * kChannels + threadIdx.x] = total;
  }
}

unsigned Blocks(int64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

const __half* Halves(const void* pointer) { return static_cast<const __half*>(pointer); }

}  // namespace

extern "C" int sb_norm_gelu(const void* x, const void* bias, const void* weight, const void* shift,
                            const void* residual, void* out, int64_t rows, int64_t height, int64_t width,
                            int64_t placed, float epsilon, void* stream) {
  if (rows == 0) return 0;
  NormGelu<<<Blocks(rows * 32), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Halves(x), static_cast<const float*>(bias), static_cast<const float*>(weight), static_cast<const float*>(shift),
      Halves(residual), static_cast<__half*>(out), rows, static_cast<int>(height), static_cast<int>(width),
      static_cast<int>(placed), epsilon);
  return cudaGetLastError();
}

extern "C" int sb_gru_gates(const void* own, const void* inputs, const void* context, const void* source,
                            const void* global, const void* net, void* update, void* reset_net, int64_t rows,
                            int64_t pixels, void* stream) {
  if (rows == 0) return 0;
  GruGates<<<Blocks(rows * (kChannels / kVector)), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Halves(own), Halves(inputs), Halves(context), static_cast<const int64_t*>(source),
      static_cast<const float*>(global), Halves(net), static_cast<__half*>(update), static_cast<__half*>(reset_net),
      rows, pixels);
  return cudaGetLastError();
}

extern "C" int sb_gru_state(const void* own, const void* inputs, const void* context, const void* source,
                            const void* global, const void* update, const void* net, void* out, int64_t rows,
                            int64_t pixels, void* stream) {
  if (rows == 0) return 0;
  GruState<<<Blocks(rows * (kChannels / kVector)), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Halves(own), Halves(inputs), Halves(context), static_cast<const int64_t*>(source),
      static_cast<const float*>(global), Halves(update), Halves(net), static_cast<__half*>(out), rows, pixels);
  return cudaGetLastError();
}

extern "C" int sb_gated_sum(const void* gate, const void* bias, const void* net, void* out, int64_t edges,
                            int64_t pixels, int64_t parts, void* stream) {
  if (edges == 0) return 0;
  GatedSum<<<dim3(static_cast<unsigned>(edges), static_cast<unsigned>(parts)), kThreads, 0,
             static_cast<cudaStream_t>(stream)>>>(Halves(gate), static_cast<const float*>(bias), Halves(net),
                                                  static_cast<float*>(out), pixels);
  return cudaGetLastError();
}
