#include "caffe/steps/winograd.hpp"

#include <algorithm>
#include <vector>

#include "caffe/kernels/block_kernels.hpp"
#include "caffe/kernels/winograd_kernels.hpp"
#include "caffe/threads/for_each.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

namespace {

using std::vector;

const int kTile = 4, kReach = 6;   // pixels of a tile's outputs, and of the inputs they come from, to a side
const int kGroup = kWinogradChannels;
const int kColumns = 48, kSums = 64;  // of a product's panels, at most
// Tiles of a block, about. With more, its matrices leave a core's second cache; with fewer, the factors, which
// come from the third, or the sums, which go there and back, are used for too little.
const int kBlockTiles = 32, kGradientTiles = 64;
const int kParts = 8;                // of a batch, whose gradients of the weights are added up together,
const size_t kPartFloats = 1 << 24;  // or fewer, for them to have no more floats than this

// Of the thread that calls.
thread_local Scratch scratch;

// Rows of one side's images that tiles cover, channels side by side in strips of a group of channels each.
struct Side {
  Side(int channels, int height, int width, int tile_rows, int tile_columns, int size, int pad_h, int pad_w)
      : channels(channels), height(height), width(width), size(size), pad_h(pad_h),
        table(tile_columns * size * size), offsets(static_cast<size_t>(tile_rows) * table) {
    int* offset = offsets.data();
    for (int row = 0; row < tile_rows; ++row) {
      for (int column = 0; column < tile_columns; ++column) {
        for (int i = 0; i < size * size; ++i) {
          const int y = row * kTile - pad_h + i / size, x = column * kTile - pad_w + i % size;
          const bool inside = y >= 0 && y < height && x >= 0 && x < width;
          *offset++ = kGroup * (inside ? (y - first(row)) * width + x : outside());
        }
      }
    }
  }

  // The rows of the image that a row of tiles covers.
  int first(int row) const { return std::min(height, std::max(0, row * kTile - pad_h)); }
  int end(int row) const { return std::max(first(row), std::min(height, row * kTile - pad_h + size)); }
  int pixels(int row) const { return (end(row) - first(row)) * width; }
  size_t plane() const { return static_cast<size_t>(height) * width; }
  size_t place(size_t image, int channel, int row) const {
    return (image * channels + channel) * plane() + static_cast<size_t>(first(row)) * width;
  }

  const int* of_row(int row) const { return &offsets[static_cast<size_t>(row) * table]; }

  // A pixel of the strip that stands for all outside of the image.
  int outside() const { return size * width; }
  size_t strip_floats() const { return static_cast<size_t>(outside() + 1) * kGroup; }

  const int channels, height, width, size, pad_h, table;
  vector<int> offsets;
};

// The batch's tiles, row by row, and how they are cut into blocks.
struct Tiling {
  Tiling(const ConvolutionShape& s, int num, int tiles)
      : rows(Parts(s.out_height(), kTile)),
        columns(Parts(s.out_width(), kTile)),
        all_rows(num * rows),
        block_rows(std::max(1, tiles / columns)),
        blocks(Parts(all_rows, block_rows)),
        from(s.channels, s.height, s.width, rows, columns, kReach, s.pad_h, s.pad_w),
        to(s.outputs, s.out_height(), s.out_width(), rows, columns, kTile, 0, 0) {}

  int first(int block) const { return block * block_rows; }
  int end(int block) const { return std::min(all_rows, first(block) + block_rows); }
  int tiles(int block) const { return (end(block) - first(block)) * columns; }
  int most_tiles() const { return block_rows * columns; }

  const int rows, columns, all_rows, block_rows, blocks;
  const Side from, to;
};

// For each of a tile's products a matrix of rows x channels, in panels of a few channels: row by row of one panel,
// then of the next. What a product reads of a panel stays in a core's first cache. A cache line lies between the
// matrices, for them not to compete for the same places in the cache.
struct Matrices {
  Matrices(int rows, int channels, int widest)
      : rows(rows),
        width(RoundUp(Parts(channels, Parts(channels, widest)), kGroup)),
        panels(Parts(channels, width)),
        size(static_cast<size_t>(rows) * panels * width + kGroup) {}

  size_t floats() const { return kWinogradMatrices * size; }
  size_t place(int row, int channel) const {
    return (static_cast<size_t>(channel / width) * rows + row) * width + channel % width;
  }

  const int rows, width, panels;
  const size_t size;
};

typedef void (*Spread)(int, const float*, const int*, float*, int, size_t);

// A block's tiles of one side become matrices.
void ToMatrices(const Tiling& tiling, const Side& side, Spread spread, int block, const float* images,
    const Matrices& shape, float* matrices) {
  float* strip = scratch.Get(0, side.strip_floats());
  std::fill_n(strip + side.outside() * kGroup, kGroup, 0.f);
  for (int row = tiling.first(block); row < tiling.end(block); ++row) {
    const int tile = (row - tiling.first(block)) * tiling.columns;
    const int n = row / tiling.rows, y = row % tiling.rows;
    for (int c = 0; c < side.channels; c += kGroup) {
      winograd_kernels().to_pixels(std::min(kGroup, side.channels - c), side.pixels(y),
          images + side.place(n, c, y), side.plane(), strip);
      spread(tiling.columns, strip, side.of_row(y), matrices + shape.place(tile, c), shape.width, shape.size);
    }
  }
}

// The filters' factors: for each product of a tile's a matrix of channels x outputs.
Floats Factors(const ConvolutionShape& s, const Matrices& shape, const float* weights) {
  Floats made(shape.floats());
  ForEach(s.channels, [&](int c, int) {
    for (int begin = 0; begin < s.outputs; begin += kGroup) {
      float taps[9 * kGroup] = {};
      for (int o = begin; o < std::min(s.outputs, begin + kGroup); ++o) {
        const float* filter = weights + (static_cast<size_t>(o) * s.channels + c) * 9;
        for (int i = 0; i < 9; ++i) { taps[i * kGroup + o - begin] = filter[i]; }
      }
      winograd_kernels().filter(taps, &made[shape.place(c, begin)], shape.size);
    }
  });
  return made;
}

}  // namespace

bool WinogradPays(const ConvolutionShape& s, int num) {
  return s.group == 1 && s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.channels >= 16 && s.outputs >= 16 &&
         num * s.out_height() * s.out_width() >= 512;
}

void WinogradConvolution(const ConvolutionShape& s, int num, const float* bottom, const float* weight,
    const float* bias, float* top) {
  const Tiling tiling(s, num, kBlockTiles);
  const Matrices factor_shape(s.channels, s.outputs, kColumns),
      input_shape(tiling.most_tiles(), s.channels, kSums),
      product_shape(tiling.most_tiles(), s.outputs, kColumns);
  const Floats factors = Factors(s, factor_shape, weight);
  vector<float> start(RoundUp(s.outputs, kGroup));
  if (bias != nullptr) { std::copy(bias, bias + s.outputs, start.begin()); }
  ForEach(tiling.blocks, [&](int block, int) {
    float* input = scratch.Get(1, input_shape.floats());
    float* product = scratch.Get(2, product_shape.floats());
    ToMatrices(tiling, tiling.from, winograd_kernels().input, block, bottom, input_shape, input);
    for (int i = 0; i < kWinogradMatrices; ++i) {
      for (int o = 0; o < s.outputs; o += factor_shape.width) {
        const int width = std::min(factor_shape.width, RoundUp(s.outputs - o, kGroup));
        for (int c = 0; c < s.channels; c += input_shape.width) {
          block_kernels().multiply(tiling.tiles(block), width, std::min(input_shape.width, s.channels - c),
              input + i * input_shape.size + input_shape.place(0, c), input_shape.width, 1,
              &factors[i * factor_shape.size + factor_shape.place(c, o)], factor_shape.width,
              product + i * product_shape.size + product_shape.place(0, o), product_shape.width, c > 0);
        }
      }
    }
    const Side& side = tiling.to;
    float* strip = scratch.Get(0, side.strip_floats());
    for (int row = tiling.first(block); row < tiling.end(block); ++row) {
      const int tile = (row - tiling.first(block)) * tiling.columns;
      const int n = row / tiling.rows, y = row % tiling.rows;
      for (int o = 0; o < s.outputs; o += kGroup) {
        winograd_kernels().output(tiling.columns, product + product_shape.place(tile, o), product_shape.width,
            product_shape.size, &start[o], side.of_row(y), strip);
        winograd_kernels().to_planes(std::min(kGroup, s.outputs - o), side.pixels(y), strip,
            top + side.place(n, o, y), side.plane());
      }
    }
  });
}

void WinogradWeightGradient(const ConvolutionShape& s, int num, const float* top_diff, const float* bottom,
    float* weight_diff, float* bias_diff) {
  const Tiling tiling(s, num, kGradientTiles);
  const Matrices input_shape(tiling.most_tiles(), s.channels, kSums),
      gradient_shape(tiling.most_tiles(), s.outputs, kColumns), sum_shape(s.channels, s.outputs, kColumns);
  const int most = std::min(kParts, tiling.blocks);
  const int parts = std::max<int>(1, std::min<size_t>(most, kPartFloats / sum_shape.floats()));
  vector<Floats> sums(parts);
  ForEach(parts, [&](int part, int) {
    sums[part].resize(sum_shape.floats());
    float* input = scratch.Get(1, input_shape.floats());
    float* gradient = scratch.Get(2, gradient_shape.floats());
    for (int block = part * tiling.blocks / parts; block < (part + 1) * tiling.blocks / parts; ++block) {
      ToMatrices(tiling, tiling.from, winograd_kernels().input, block, bottom, input_shape, input);
      ToMatrices(tiling, tiling.to, winograd_kernels().gradient, block, top_diff, gradient_shape, gradient);
      for (int i = 0; i < kWinogradMatrices; ++i) {
        for (int o = 0; o < s.outputs; o += sum_shape.width) {
          const int width = std::min(sum_shape.width, RoundUp(s.outputs - o, kGroup));
          for (int c = 0; c < s.channels; c += input_shape.width) {
            block_kernels().multiply(std::min(input_shape.width, s.channels - c), width, tiling.tiles(block),
                input + i * input_shape.size + input_shape.place(0, c), 1, input_shape.width,
                gradient + i * gradient_shape.size + gradient_shape.place(0, o), gradient_shape.width,
                &sums[part][i * sum_shape.size + sum_shape.place(c, o)], sum_shape.width, true);
          }
        }
      }
    }
  });
  ForEach(s.channels, [&](int c, int) {
    for (int begin = 0; begin < s.outputs; begin += kGroup) {
      float total[kWinogradMatrices * kGroup] = {}, taps[9 * kGroup];
      for (const Floats& sum : sums) {
        for (int i = 0; i < kWinogradMatrices; ++i) {
          const float* from = &sum[i * sum_shape.size + sum_shape.place(c, begin)];
          for (int o = 0; o < kGroup; ++o) { total[i * kGroup + o] += from[o]; }
        }
      }
      winograd_kernels().filter_gradient(total, kGroup, taps);
      for (int o = begin; o < std::min(s.outputs, begin + kGroup); ++o) {
        float* filter = weight_diff + (static_cast<size_t>(o) * s.channels + c) * 9;
        for (int i = 0; i < 9; ++i) { filter[i] += taps[i * kGroup + o - begin]; }
      }
    }
  });
  if (bias_diff == nullptr) { return; }
  ForEach(s.outputs, [&](int o, int) {
    for (int n = 0; n < num; ++n) {
      const float* plane = top_diff + (static_cast<size_t>(n) * s.outputs + o) * tiling.to.plane();
      float sum = 0;
      for (size_t i = 0; i < tiling.to.plane(); ++i) { sum += plane[i]; }
      bias_diff[o] += sum;
    }
  });
}

}  // namespace caffe
