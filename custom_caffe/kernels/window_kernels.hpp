#ifndef CAFFE_KERNELS_WINDOW_KERNELS_HPP_
#define CAFFE_KERNELS_WINDOW_KERNELS_HPP_

namespace caffe {

/// Outputs whose weights lie side by side: see WindowRow.
const int kPanel = 16;

/**
 * @brief A convolution's outputs along one row, of an image with the channels of a pixel side by side (NHWC).
 *
 * Pixel x of the result reads `rows` rows from `from` + x * from_pixel on, from_row floats apart, of each `taps`
 * numbers in sequence: the kernel's width times the channels. The weights are panels of rows x taps x kPanel, one
 * after the other, the last filled up with zeros; as are start (the bias) and slopes, of the negative numbers: 1
 * where there is no activation. With one row and from_pixel the size of an image, it is an inner product of several.
 *
 * Pixels of `to` are `outputs` floats apart; the up to kPanel - 1 floats behind the last are overwritten.
 */
struct WindowRow {
  int rows, taps, from_row, from_pixel, outputs;
  const float *from, *weights, *start, *slopes;
  float* to;
};

/// Arithmetic of nets of plain convolutions and max pooling, compiled for several instruction sets.
struct WindowKernels {
  /// The first `width` pixels of the row.
  void (*convolve)(const WindowRow& row, int width);

  /// Max pooling of `count` rows of `width` pixels to one: to[x, c] is the largest of from[r][x * stride + k, c] for
  /// r < count, k < kernel and x * stride + k < width; of none that is a number, -FLT_MAX. What is read of a row may
  /// reach kPanel - 1 floats beyond its end; nothing is written beyond `to`'s outputs x channels.
  void (*pool)(const float* const* from, int count, int width, int channels, int kernel, int stride, int outputs,
      float* to);
};

/// Those of the instruction set `isa`.
const WindowKernels& window_kernels();

}  // namespace caffe

#endif  // CAFFE_KERNELS_WINDOW_KERNELS_HPP_
