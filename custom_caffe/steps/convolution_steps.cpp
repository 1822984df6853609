#include "caffe/steps/convolution_steps.hpp"

#include <algorithm>
#include <vector>

#include "caffe/kernels/block_kernels.hpp"
#include "caffe/steps/upstream_only.hpp"
#include "caffe/steps/winograd.hpp"
#include "caffe/threads/for_each.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

namespace {

using std::vector;

const int kBandPixels = 512;      // of a band, for its channels to stay in a core's second cache
const int kStep = 16;             // pixels come in steps of: the widest register's
const int kLeastPixels = 16;      // of an output: below it most of a register would be idle
const int kParts = 16;            // of a batch, whose gradients of the weights are added up together,
const size_t kPartFloats = 1 << 24;  // or fewer, for them to have no more floats than this

bool Supported(const ConvolutionShape& s) {
  return s.group == 1 && s.stride_h == 1 && s.stride_w == 1 && s.out_height() * s.out_width() >= kLeastPixels &&
         !UpstreamOnly();
}

// Of the thread that calls.
thread_local Scratch scratch;

// How the outputs of a batch are cut into bands: whole rows, as wide as the padded input.
struct Bands {
  explicit Bands(const ConvolutionShape& shape)
      : s(shape),
        wide(shape.width + 2 * shape.pad_w),
        height(shape.out_height()),
        width(shape.out_width()),
        taps(shape.kernel_h * shape.kernel_w) {
    count = (height - 1) / std::max(1, kBandPixels / wide) + 1;
    rows = (height - 1) / count + 1;
    count = (height - 1) / rows + 1;
    // An odd number of cache lines, for the channels not to compete for the same places in the cache. The last
    // pixels of a band read a little further than its rows.
    plane = RoundUp((rows + s.dilation_h * (s.kernel_h - 1)) * wide + kStep, kStep);
    if (plane / kStep % 2 == 0) { plane += kStep; }
  }

  int first(int band) const { return band * rows; }
  int rows_of(int band) const { return std::min(rows, height - first(band)); }
  int pixels(int band) const { return (rows_of(band) - 1) * wide + width; }
  int tap(int i) const { return i / s.kernel_w * s.dilation_h * wide + i % s.kernel_w * s.dilation_w; }
  size_t from_size() const { return static_cast<size_t>(s.channels) * plane; }

  // The rows that a band of outputs reads, with the zeros around them.
  void Cut(const float* image, int band, float* to) const {
    const int end = rows_of(band) + s.dilation_h * (s.kernel_h - 1);
    const int left = std::max(0, s.pad_w), crop = std::max(0, -s.pad_w), copied = wide - 2 * left;
    for (int c = 0; c < s.channels; ++c, image += s.height * s.width, to += plane) {
      float* row = to;
      for (int y = 0; y < end; ++y, row += wide) {
        const int source = first(band) + y - s.pad_h;
        if (source < 0 || source >= s.height) {
          std::fill(row, row + wide, 0.f);
          continue;
        }
        const float* from = image + source * s.width + crop;
        std::fill(row, row + left, 0.f);
        std::copy(from, from + copied, row + left);
        std::fill(row + left + copied, row + wide, 0.f);
      }
    }
  }

  const ConvolutionShape s;
  const int wide, height, width, taps;
  int rows, count, plane;
};

void Convolve(const ConvolutionShape& s, int num, const float* from, const float* weights, const float* bias,
    float* to) {
  if (WinogradPays(s, num)) { return WinogradConvolution(s, num, from, weights, bias, to); }
  const Bands bands(s);
  const int products = s.channels * bands.taps;
  vector<int> offsets(products);
  for (int i = 0; i < products; ++i) { offsets[i] = i / bands.taps * bands.plane + bands.tap(i % bands.taps); }
  ForEach(num * bands.count, [&](int i, int) {
    const size_t n = i / bands.count;
    const int band = i % bands.count, rows = bands.rows_of(band);
    const int pixels = RoundUp(bands.pixels(band), kStep);
    float* cut = scratch.Get(0, bands.from_size());
    float* product = scratch.Get(1, static_cast<size_t>(s.outputs) * pixels);
    bands.Cut(from + n * s.channels * s.height * s.width, band, cut);
    block_kernels().multiply_listed(s.outputs, pixels, products, weights, products, 1, cut, offsets.data(), product,
        pixels);
    for (int o = 0; o < s.outputs; ++o) {
      const float shift = bias == nullptr ? 0 : bias[o];
      float* target = to + ((n * s.outputs + o) * bands.height + bands.first(band)) * bands.width;
      for (int y = 0; y < rows; ++y, target += bands.width) {
        const float* row = product + o * pixels + y * bands.wide;
        for (int x = 0; x < bands.width; ++x) { target[x] = row[x] + shift; }
      }
    }
  });
}

// The same rows of outputs' gradients with the channels of a pixel side by side, and zeros where the input is wider.
void Turn(const Bands& bands, const float* gradient, int band, float* to) {
  const int outputs = bands.s.outputs, plane = bands.height * bands.width;
  const float* row = gradient + bands.first(band) * bands.width;
  for (int y = 0; y < bands.rows_of(band); ++y, row += bands.width, to += bands.wide * outputs) {
    for (int begin = 0; begin < outputs; begin += kStep) {
      const int end = std::min(outputs, begin + kStep);
      for (int x = 0; x < bands.width; ++x) {
        for (int o = begin; o < end; ++o) { to[x * outputs + o] = row[o * plane + x]; }
      }
    }
    std::fill(to + bands.width * outputs, to + bands.wide * outputs, 0.f);
  }
}

void AddWeightGradient(const ConvolutionShape& s, int num, const float* top_diff, const float* bottom,
    float* weight_diff, float* bias_diff) {
  if (weight_diff != nullptr && WinogradPays(s, num)) {
    return WinogradWeightGradient(s, num, top_diff, bottom, weight_diff, bias_diff);
  }
  const Bands bands(s);
  const size_t filters = static_cast<size_t>(s.channels) * s.outputs;  // of one tap, channels x outputs
  const size_t size = bands.taps * filters + s.outputs;
  const int all = num * bands.count;
  const int parts = std::max<int>(1, std::min<size_t>(std::min(kParts, all), kPartFloats / size));
  vector<float> sums(parts * size);
  ForEach(parts, [&](int part, int) {
    float* sum = &sums[part * size];
    const float one = 1;
    for (int i = part * all / parts; i < (part + 1) * all / parts; ++i) {
      const size_t n = i / bands.count;
      const int band = i % bands.count, pixels = bands.pixels(band);
      float* cut = scratch.Get(0, bands.from_size());
      float* gradient = scratch.Get(1, static_cast<size_t>(s.outputs) * bands.rows * bands.wide);
      Turn(bands, top_diff + n * s.outputs * bands.height * bands.width, band, gradient);
      if (bias_diff != nullptr) {
        block_kernels().multiply(1, s.outputs, pixels, &one, 0, 0, gradient, s.outputs, sum + bands.taps * filters,
            s.outputs, true);
      }
      if (weight_diff == nullptr) { continue; }
      bands.Cut(bottom + n * s.channels * s.height * s.width, band, cut);
      for (int tap = 0; tap < bands.taps; ++tap) {
        block_kernels().multiply(s.channels, s.outputs, pixels, cut + bands.tap(tap), bands.plane, 1, gradient,
            s.outputs, sum + tap * filters, s.outputs, true);
      }
    }
  });
  if (weight_diff != nullptr) {
    ForEach(s.channels, [&](int c, int) {
      for (int tap = 0; tap < bands.taps; ++tap) {
        for (int o = 0; o < s.outputs; ++o) {
          float total = 0;
          for (int part = 0; part < parts; ++part) { total += sums[part * size + tap * filters + c * s.outputs + o]; }
          weight_diff[(o * s.channels + c) * bands.taps + tap] += total;
        }
      }
    });
  }
  for (int part = 0; bias_diff != nullptr && part < parts; ++part) {
    for (int o = 0; o < s.outputs; ++o) { bias_diff[o] += sums[part * size + bands.taps * filters + o]; }
  }
}

// The convolution of the gradient of the output that gives the input's.
ConvolutionShape Backward(const ConvolutionShape& s) {
  ConvolutionShape back = s;
  back.channels = s.outputs;
  back.outputs = s.channels;
  back.height = s.out_height();
  back.width = s.out_width();
  back.pad_h = s.dilation_h * (s.kernel_h - 1) - s.pad_h;
  back.pad_w = s.dilation_w * (s.kernel_w - 1) - s.pad_w;
  return back;
}

// Its weights: channels x outputs x taps, the taps in reverse.
vector<float> BackwardWeights(const ConvolutionShape& s, const float* weights) {
  const int taps = s.kernel_h * s.kernel_w;
  vector<float> made(static_cast<size_t>(s.channels) * s.outputs * taps);
  ForEach(s.channels, [&](int c, int) {
    for (int o = 0; o < s.outputs; ++o) {
      const float* filter = weights + (o * s.channels + c) * taps;
      std::reverse_copy(filter, filter + taps, &made[(c * s.outputs + o) * taps]);
    }
  });
  return made;
}

}  // namespace

bool ThreadedConvolution(const ConvolutionShape& shape, int num, const float* bottom, const float* weight,
    const float* bias, float* top) {
  if (!Supported(shape)) { return false; }
  Convolve(shape, num, bottom, weight, bias, top);
  return true;
}

bool ThreadedConvolutionGradient(const ConvolutionShape& shape, int num, const float* top_diff, const float* bottom,
    const float* weight, float* weight_diff, float* bias_diff, float* bottom_diff) {
  if (!Supported(shape)) { return false; }
  if (weight_diff != nullptr || bias_diff != nullptr) {
    AddWeightGradient(shape, num, top_diff, bottom, weight_diff, bias_diff);
  }
  if (bottom_diff != nullptr) {
    Convolve(Backward(shape), num, top_diff, BackwardWeights(shape, weight).data(), nullptr, bottom_diff);
  }
  return true;
}

}  // namespace caffe
