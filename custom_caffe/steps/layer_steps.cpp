#include "caffe/steps/layer_steps.hpp"

#include <algorithm>
#include <cfloat>
#include <vector>

#include "caffe/kernels/block_kernels.hpp"
#include "caffe/steps/upstream_only.hpp"
#include "caffe/threads/for_each.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

namespace {

const int kValues = 1 << 14;  // of a parameter, that a thread updates at a time
const int kRows = 16;         // of a product, that a thread computes at a time
const int kBlock = 16;        // side of the squares a matrix is transposed by
// Below it a product reads its weights once and is as fast as memory is, and to turn them would cost as much.
const int kLeastRows = 8;

void Transpose(const float* from, int rows, int columns, float* to) {
  ForEach(Parts(rows, kBlock), [&](int part, int) {
    const int end = std::min(rows, (part + 1) * kBlock);
    for (int left = 0; left < columns; left += kBlock) {
      const int right = std::min(columns, left + kBlock);
      for (int j = left; j < right; ++j) {
        for (int i = part * kBlock; i < end; ++i) { to[j * rows + i] = from[i * columns + j]; }
      }
    }
  });
}

}  // namespace

bool ThreadedAdam(int count, float rate, float beta1, float beta2, float e, float* g, float* m, float* v) {
  if (UpstreamOnly()) { return false; }
  ForEach(Parts(count, kValues), [&](int part, int) {
    const int begin = part * kValues;
    block_kernels().adam(std::min(kValues, count - begin), rate, beta1, beta2, e, g + begin, m + begin, v + begin);
  });
  return true;
}

bool ThreadedInnerProduct(int m, int n, int k, const float* bottom, const float* weight, const float* bias,
    float* top) {
  if (m < kLeastRows || UpstreamOnly()) { return false; }
  std::vector<float> transposed(static_cast<size_t>(n) * k), start(n, 0.f);
  Transpose(weight, n, k, transposed.data());
  if (bias != nullptr) { start.assign(bias, bias + n); }
  ForEach(Parts(m, kRows), [&](int part, int) {
    const size_t row = static_cast<size_t>(part) * kRows;
    block_kernels().multiply_activate(std::min<int>(kRows, m - row), n, k, bottom + row * k, k, 1, transposed.data(),
        n, start.data(), 1, top + row * n, n);
  });
  return true;
}

bool ThreadedWeightGradient(int m, int n, int k, const float* top_diff, const float* bottom, float* weight_diff) {
  if (m < kLeastRows || UpstreamOnly()) { return false; }
  ForEach(Parts(n, kRows), [&](int part, int) {
    const size_t row = static_cast<size_t>(part) * kRows;
    block_kernels().multiply(std::min<int>(kRows, n - row), k, m, top_diff + row, 1, n, bottom, k,
        weight_diff + row * k, k, true);
  });
  return true;
}

bool ThreadedBottomGradient(int m, int n, int k, const float* top_diff, const float* weight, float* bottom_diff) {
  if (m < kLeastRows || UpstreamOnly()) { return false; }
  ForEach(Parts(m, kRows), [&](int part, int) {
    const size_t row = static_cast<size_t>(part) * kRows;
    block_kernels().multiply(std::min<int>(kRows, m - row), k, n, top_diff + row * n, n, 1, weight, k,
        bottom_diff + row * k, k, false);
  });
  return true;
}

bool ThreadedRelu(int count, const float* bottom, float slope, float* top) {
  if (UpstreamOnly()) { return false; }
  ForEach(Parts(count, kValues), [&](int part, int) {
    // As fast as memory is, whatever the instruction set.
    const int end = std::min(count, (part + 1) * kValues);
    for (int i = part * kValues; i < end; ++i) {
      top[i] = std::max(bottom[i], 0.f) + slope * std::min(bottom[i], 0.f);
    }
  });
  return true;
}

bool ThreadedReluGradient(int count, const float* bottom, float slope, const float* top_diff, float* bottom_diff) {
  if (UpstreamOnly()) { return false; }
  ForEach(Parts(count, kValues), [&](int part, int) {
    const int begin = part * kValues;
    block_kernels().relu_gradient(std::min(kValues, count - begin), bottom + begin, slope, top_diff + begin,
        bottom_diff + begin);
  });
  return true;
}

bool ThreadedMaxPooling(const PoolingShape& s, int images, const float* bottom, float* top, int* mask) {
  if (UpstreamOnly()) { return false; }
  ForEach(images, [&](int i, int) {
    const float* image = bottom + static_cast<size_t>(i) * s.height * s.width;
    size_t to = static_cast<size_t>(i) * s.out_height * s.out_width;
    for (int y = 0; y < s.out_height; ++y) {
      const int top_row = std::max(0, y * s.stride_h - s.pad_h);
      const int end_row = std::min(s.height, y * s.stride_h - s.pad_h + s.kernel_h);
      for (int x = 0; x < s.out_width; ++x, ++to) {
        const int left = std::max(0, x * s.stride_w - s.pad_w);
        const int right = std::min(s.width, x * s.stride_w - s.pad_w + s.kernel_w);
        float largest = -FLT_MAX;
        int where = -1;
        for (int row = top_row; row < end_row; ++row) {
          for (int index = row * s.width + left; index < row * s.width + right; ++index) {
            const bool larger = image[index] > largest;
            largest = larger ? image[index] : largest;
            where = larger ? index : where;
          }
        }
        top[to] = largest;
        mask[to] = where;
      }
    }
  });
  return true;
}

bool ThreadedMaxPoolingGradient(const PoolingShape& s, int images, const float* top_diff, const int* mask,
    float* bottom_diff) {
  if (UpstreamOnly()) { return false; }
  const size_t size = static_cast<size_t>(s.height) * s.width;
  const size_t windows = static_cast<size_t>(s.out_height) * s.out_width;
  ForEach(images, [&](int i, int) {
    float* image = bottom_diff + i * size;
    std::fill(image, image + size, 0.f);
    for (size_t window = i * windows; window < (i + 1) * windows; ++window) {
      if (mask[window] >= 0) { image[mask[window]] += top_diff[window]; }
    }
  });
  return true;
}

}  // namespace caffe
