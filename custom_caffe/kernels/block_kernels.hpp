#ifndef CAFFE_KERNELS_BLOCK_KERNELS_HPP_
#define CAFFE_KERNELS_BLOCK_KERNELS_HPP_

namespace caffe {

/// Which taps of a filter meet which positions along one axis of an image: for position p the pairs
/// (tap, source) from begin[p] to begin[p + 1].
struct TapList {
  const int* begin;
  const int* tap;
  const int* source;
};

/**
 * @brief Arithmetic of the fused blocks on single images, compiled for several instruction sets.
 *
 * Images are rows of pixels with the channels of a pixel side by side (NHWC). All numbers are floats; a slope is
 * the negative slope of a leaky ReLU, 1 for none.
 */
struct BlockKernels {
  /// C = A B, or C += A B: C is m x n with rows c_row apart, B is k x n with rows b_row apart, and
  /// A(i, j) = a[i * a_row + j * a_column].
  void (*multiply)(int m, int n, int k, const float* a, int a_row, int a_column, const float* b, int b_row,
      float* c, int c_row, bool accumulate);

  /// C = activation(start + A B), start (n) the same for every row.
  void (*multiply_activate)(int m, int n, int k, const float* a, int a_row, int a_column, const float* b,
      int b_row, const float* start, float slope, float* c, int c_row);

  /// C = A B, with row i of B at b + b_offsets[i].
  void (*multiply_listed)(int m, int n, int k, const float* a, int a_row, int a_column, const float* b,
      const int* b_offsets, float* c, int c_row);

  /// to[y, x, c] = sum over the pairs of y and of x of weights[tap y, tap x, c] * from[source y, source x, c].
  /// Pixels of `to` are to_pixel floats apart, those of `from` from_pixel; weights are taps x taps x channels,
  /// w_tap floats between the taps.
  void (*gather)(int height, int width, int channels, const TapList& rows, const TapList& columns, int taps,
      const float* weights, int w_tap, const float* from, int from_width, int from_pixel, float* to, int to_pixel);

  /// sums[tap y, tap x, c] += sum over pixels and pairs of gradient[y, x, c] * from[source y, source x, c]
  void (*gather_gradient)(int height, int width, int channels, const TapList& rows, const TapList& columns,
      int taps, const float* from, int from_width, int from_pixel, const float* gradient, int gradient_pixel,
      float* sums, int sums_tap);

  /// to = activation(scale[c] * from + shift[c]), pixels x channels without gaps.
  void (*affine)(int pixels, int channels, const float* from, const float* scale, const float* shift, float slope,
      float* to);

  /// to = scale[c] * from + shift[c] + other, pixels x channels without gaps; other may be null.
  void (*affine_add)(int pixels, int channels, const float* from, const float* scale, const float* shift,
      const float* other, float* to);

  /// Per channel the mean and the sum of squared distances from it.
  void (*moments)(int pixels, int channels, const float* from, float* mean, float* squares);

  /// gradient *= (activated > 0 ? 1 : slope); sums[c] += gradient. Pixels x channels without gaps.
  void (*mask_sum)(int pixels, int channels, const float* activated, float slope, float* gradient, float* sums);

  /// With v = scale[c] * z + shift[c]: gradient *= (v > 0 ? 1 : slope), sums[c] += gradient,
  /// products[c] += gradient * (z - mean[c]).
  void (*mask_moments)(int pixels, int channels, const float* z, const float* scale, const float* shift,
      const float* mean, float slope, float* gradient, float* sums, float* products);

  /// to = scale[c] * gradient + z_scale[c] * z + shift[c]; pixels of gradient and z are from_pixel floats apart,
  /// those of `to` have no gaps.
  void (*combine)(int pixels, int channels, const float* gradient, const float* z, int from_pixel,
      const float* scale, const float* z_scale, const float* shift, float* to);

  /// sums[c] += from, products[c] += from * (z - mean[c]); pixels x channels without gaps.
  void (*sum_moments)(int pixels, int channels, const float* from, const float* z, const float* mean, float* sums,
      float* products);

  /// Adam's step (Kingma and Ba, 2015): m and v move on with the gradient g, which becomes rate * m / (sqrt(v) + e).
  void (*adam)(int count, float rate, float beta1, float beta2, float e, float* g, float* m, float* v);

  /// to = gradient * (1 where from > 0, slope where from <= 0).
  void (*relu_gradient)(int count, const float* from, float slope, const float* gradient, float* to);
};

/// Those of the instruction set `isa`.
const BlockKernels& block_kernels();

}  // namespace caffe

#endif  // CAFFE_KERNELS_BLOCK_KERNELS_HPP_
