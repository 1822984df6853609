// How fast each kernel is at the level of the instruction set that CAFFE_ISA names, on the shapes of the MobileNetV2's training: of one
// image, in a core's caches. Prints CSV: level, kernel, what of, microseconds, GFLOP/s, share of what a core can do at
// most (a loop of multiply-adds in registers, timed in between), GB/s read and written. Compiled and run by
// benchmarks/step_profile.py.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "caffe/kernels/block_kernels.hpp"
#include "caffe/kernels/isa.hpp"
#include "caffe/kernels/levels.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

struct PeakKernel {
  float (*run)(long count);
  double flops;  // of a count
};

#define CAFFE_KERNELS "peak.inl"
#include "caffe/kernels/kernels_by_level.inl"

const PeakKernel& peak_kernel() { return CAFFE_OF_LEVEL(kPeak); }

}  // namespace caffe

namespace {

using std::string;
using std::vector;

const int kRounds = 40;
const double kSlice = 2e-4;  // seconds

volatile float sink;

double Seconds(const std::function<void()>& work, int calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) { work(); }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Floats {
 public:
  explicit Floats(size_t size) : values_(size) {
    std::mt19937 generator(3);
    std::normal_distribution<float> normal;
    for (float& value : values_) { value = normal(generator); }
  }
  operator float*() { return values_.data(); }

 private:
  caffe::Floats values_;
};

// Fastest of many slices, with one of the peak in between: the machine's clock is not always the same.
void Time(const char* kernel, const string& what, double flops, double floats, const std::function<void()>& work) {
  const auto& peak = caffe::peak_kernel();
  const auto peak_work = [&] { sink = peak.run(2000); };
  const int calls = std::max(1, static_cast<int>(kSlice / std::max(1e-9, Seconds(work, 1))));
  double best = 1, share = 0;
  double best_peak = 1;
  for (int round = 0; round < kRounds; ++round) {
    best = std::min(best, Seconds(work, calls) / calls);
    best_peak = std::min(best_peak, Seconds(peak_work, 3) / 3);
  }
  share = flops / best / (2000 * peak.flops / best_peak);
  std::printf("%s,%s,%s,%.2f,%.1f,%.2f,%.1f\n", caffe::isa_name(caffe::isa()), kernel, what.c_str(), best * 1e6,
      flops / best / 1e9, share, floats * 4 / best / 1e9);
}

// A 3x3 filter with a border of one, in forward and backward direction.
void Filters(int side, int channels, int stride) {
  const auto& kernels = caffe::block_kernels();
  const int small = side / stride, padded = side + 2, padded_small = small + 2;
  Floats image(padded * padded * channels), out(padded_small * padded_small * channels), filters(9 * channels),
      sums(9 * channels), gradient(side * side * channels);
  const string what = std::to_string(side) + "x" + std::to_string(side) + "x" + std::to_string(channels) + "/" +
      std::to_string(stride);
  const double flops = 2. * 9 * small * small * channels;
  const caffe::TapGrid taps = {3, 3, 0, 3 * channels, channels, padded * channels, channels};
  const caffe::ConstGrid from{image, stride * padded * channels, stride * channels};
  const caffe::Grid to{out, padded_small * channels, channels};
  const caffe::ConstGrid result{out, padded_small * channels, channels};
  Time("correlate", what, flops, (side * side + small * small) * channels,
      [&] { kernels.correlate(small, small, channels, taps, filters, from, to); });
  Time("correlate_gradient", what, flops, (side * side + small * small) * channels,
      [&] { kernels.correlate_gradient(small, small, channels, taps, from, result, sums); });
  // Backward, the pixels of each phase by the taps that meet them: all nine, or four, two, two and one.
  vector<caffe::TapGrid> phases;
  for (int phase = 0; phase < stride * stride; ++phase) {
    const int rows = (2 - phase / stride) / stride + 1, columns = (2 - phase % stride) / stride + 1;
    phases.push_back({rows, columns, (3 * (phase / stride) + phase % stride) * channels, 3 * stride * channels,
        stride * channels, padded_small * channels, channels});
  }
  Time("correlate_masked (backward)", what, flops, (2 * side * side + small * small) * channels, [&] {
    for (int phase = 0; phase < stride * stride; ++phase) {
      const int first = (phase / stride * side + phase % stride) * channels;
      kernels.correlate_masked(small, small, channels, phases[phase], filters, result,
          caffe::ConstGrid{image + first, stride * padded * channels, stride * channels}, 0.01f,
          caffe::Grid{gradient + first, stride * side * channels, stride * channels}, sums);
    }
  });
}

void Products(int m, int n, int k, bool turned) {
  Floats a(m * k), b(k * n), c(m * n), start(n);
  const string what = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  const double flops = 2. * m * n * k, floats = m * k + k * n + m * n;
  Time(turned ? "multiply (turned; adds)" : "multiply", what, flops, floats, [&] {
    caffe::block_kernels().multiply(m, n, k, a, turned ? 1 : k, turned ? m : 1, b, n, c, n, turned);
  });
  if (!turned) {
    Time("multiply_activate", what, flops, floats, [&] {
      caffe::block_kernels().multiply_activate(m, n, k, a, k, 1, b, n, start, 0.01f, c, n);
    });
  }
}

void Rows(int pixels, int channels) {
  const auto& kernels = caffe::block_kernels();
  const int size = pixels * channels;
  Floats x(size), y(size), to(size), scale(channels), shift(channels), mean(channels), sums(channels), more(channels);
  const string what = std::to_string(pixels) + "x" + std::to_string(channels);
  Time("affine", what, 2. * size, 2. * size, [&] { kernels.affine(pixels, channels, x, scale, shift, 0.01f, to); });
  Time("affine_add", what, 3. * size, 3. * size,
      [&] { kernels.affine_add(pixels, channels, x, scale, shift, y, to); });
  Time("moments", what, 4. * size, size, [&] { kernels.moments(pixels, channels, x, mean, sums); });
  Time("mask_moments", what, 7. * size, 3. * size,
      [&] { kernels.mask_moments(pixels, channels, x, scale, shift, mean, 1.f, y, sums, more); });
  Time("sum_moments", what, 4. * size, 2. * size,
      [&] { kernels.sum_moments(pixels, channels, x, y, mean, sums, more); });
  Time("combine", what, 4. * size, 3. * size,
      [&] { kernels.combine(pixels, channels, x, y, channels, scale, mean, shift, to, channels); });
}

}  // namespace

int main() {
  std::printf("level,kernel,shape,microseconds,gflops,of peak,gigabytes\n");
  Time("peak", "registers", 2000 * caffe::peak_kernel().flops, 0, [] { sink = caffe::peak_kernel().run(2000); });
  // Expand, project, and the gradients of their weights and inputs, in blocks 1, 2, 4 and 6.
  Products(32, 48, 16, false);
  Products(32, 144, 24, false);
  Products(32, 192, 64, false);
  Products(32, 24, 96, false);
  Products(32, 24, 144, false);
  Products(32, 32, 144, false);
  Products(32, 64, 192, false);
  Products(32, 16, 48, false);
  Products(24, 144, 32, true);
  Products(32, 192, 32, true);
  Products(64, 192, 16, true);
  Products(16, 48, 1024, true);
  Products(24, 144, 256, true);
  Filters(32, 48, 2);
  Filters(16, 144, 1);
  Filters(16, 144, 2);
  Filters(8, 192, 1);
  Filters(4, 192, 1);
  Rows(32, 144);
  Rows(256, 24);
  Rows(1024, 16);
}
