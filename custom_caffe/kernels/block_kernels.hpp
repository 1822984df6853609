#ifndef CAFFE_KERNELS_BLOCK_KERNELS_HPP_
#define CAFFE_KERNELS_BLOCK_KERNELS_HPP_

namespace caffe {

/// Pixels of an image with their channels side by side: how many floats rows and pixels are apart.
struct Grid {
  float* first;
  int row, pixel;
};

struct ConstGrid {
  const float* first;
  int row, pixel;
};

/// Rows x columns of a depthwise filter's taps: tap (r, s) has its weights at `weight` + r * weight_row +
/// s * weight_column, and meets the value r * from_row + s * from_column after a pixel's first; all in floats.
struct TapGrid {
  int rows, columns, weight, weight_row, weight_column, from_row, from_column;
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

  /// C = activation(start + A B), with A(i, j) = a[i * a_row + a_offsets[j]].
  void (*multiply_patches)(int m, int n, int k, const float* a, int a_row, const int* a_offsets, const float* b,
      int b_row, const float* start, float slope, float* c, int c_row);

  /// C += A B, with A(i, j) = a[a_offsets[i] + j * a_column].
  void (*add_patches)(int m, int n, int k, const float* a, const int* a_offsets, int a_column, const float* b,
      int b_row, float* c, int c_row);

  /// to[y, x, c] = sum over the taps of weight[c] * from[y, x, c + where the tap is], for height x width pixels.
  void (*correlate)(int height, int width, int channels, const TapGrid& taps, const float* weights, ConstGrid from,
      Grid to);

  /// The same times (activated[y, x, c] > 0 ? 1 : slope), and sums[c] += what is written.
  void (*correlate_masked)(int height, int width, int channels, const TapGrid& taps, const float* weights,
      ConstGrid from, ConstGrid activated, float slope, Grid to, float* sums);

  /// sums[where the tap's weights are + c] += sum over the pixels of gradient[y, x, c] * from[y, x, c + where the tap
  /// is], for each tap.
  void (*correlate_gradient)(int height, int width, int channels, const TapGrid& taps, ConstGrid from,
      ConstGrid gradient, float* sums);

  /// to = activation(scale[c] * from + shift[c]), pixels x channels without gaps.
  void (*affine)(int pixels, int channels, const float* from, const float* scale, const float* shift, float slope,
      float* to);

  /// to = scale[c] * from + shift[c] + other, pixels x channels without gaps; other may be null.
  void (*affine_add)(int pixels, int channels, const float* from, const float* scale, const float* shift,
      const float* other, float* to);

  /// Per channel the mean and the sum of squared distances from it.
  void (*moments)(int pixels, int channels, const float* from, float* mean, float* squares);

  /// With v = scale[c] * z + shift[c]: gradient *= (v > 0 ? 1 : slope), sums[c] += gradient,
  /// products[c] += gradient * (z - mean[c]).
  void (*mask_moments)(int pixels, int channels, const float* z, const float* scale, const float* shift,
      const float* mean, float slope, float* gradient, float* sums, float* products);

  /// to = scale[c] * gradient + z_scale[c] * z + shift[c]; pixels of gradient and z are from_pixel floats apart,
  /// those of `to` to_pixel.
  void (*combine)(int pixels, int channels, const float* gradient, const float* z, int from_pixel,
      const float* scale, const float* z_scale, const float* shift, float* to, int to_pixel);

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
