#ifndef CAFFE_KERNELS_WINOGRAD_KERNELS_HPP_
#define CAFFE_KERNELS_WINOGRAD_KERNELS_HPP_

#include <cstddef>

namespace caffe {

/// Channels that the kernels below take at a time: those of a pixel side by side.
const int kWinogradChannels = 16;

/// Matrices of tiles x channels, one for each product of a tile's 6 x 6.
const int kWinogradMatrices = 36;

/**
 * @brief Arithmetic of Winograd's convolution F(4x4, 3x3) on tiles (Lavin and Gray, 2015), compiled for several
 *        instruction sets.
 *
 * A tile of 4 x 4 outputs comes from 6 x 6 inputs by 36 products in place of 144. In one dimension the outputs are
 * A^T (G w * B^T x) for the filter w and the inputs x. The interpolation points are 0, +-sqrt(1/2), +-sqrt(2) and
 * infinity: with 0, +-1 and +-2, the usual ones, the rounding error is twice as large.
 *
 * Pixels are kWinogradChannels floats each. `offsets` says where in `pixels` those of the tiles are, row by row
 * and tile after tile; tiles, and each tile's 36 products, are so many floats apart.
 */
struct WinogradKernels {
  /// to[p, c] = from[c, p] for p < pixels, c < channels, and 0 for further c; planes of from are `plane` floats
  /// apart.
  void (*to_pixels)(int channels, int pixels, const float* from, size_t plane, float* to);

  /// to[c, p] = from[p, c] for p < pixels, c < channels; planes of to are `plane` floats apart.
  void (*to_planes)(int channels, int pixels, const float* from, float* to, size_t plane);

  /// B^T x B of tiles of 6 x 6 inputs.
  void (*input)(int tiles, const float* pixels, const int* offsets, float* to, int tile, size_t matrix);

  /// start + A^T m A: tiles of 4 x 4 outputs from their products m; start is kWinogradChannels numbers.
  void (*output)(int tiles, const float* from, int tile, size_t matrix, const float* start, const int* offsets,
      float* pixels);

  /// A g A^T of tiles of 4 x 4 gradients of the outputs.
  void (*gradient)(int tiles, const float* pixels, const int* offsets, float* to, int tile, size_t matrix);

  /// G w G^T of a filter of 3 x 3 pixels.
  void (*filter)(const float* taps, float* to, size_t matrix);

  /// G^T u G: the gradient of a filter from that of its 36 factors.
  void (*filter_gradient)(const float* from, size_t matrix, float* taps);
};

/// Those of the instruction set `isa`.
const WinogradKernels& winograd_kernels();

}  // namespace caffe

#endif  // CAFFE_KERNELS_WINOGRAD_KERNELS_HPP_
