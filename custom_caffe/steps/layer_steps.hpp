#ifndef CAFFE_STEPS_LAYER_STEPS_HPP_
#define CAFFE_STEPS_LAYER_STEPS_HPP_

namespace caffe {

// Each does its work and returns true, or does nothing and returns false where the caller's own way is the better:
// for doubles, small batches, or where upstream's code alone is wanted (UpstreamOnly).

/// Adam's step on a parameter: see BlockKernels::adam.
bool ThreadedAdam(int count, float rate, float beta1, float beta2, float e, float* g, float* m, float* v);
inline bool ThreadedAdam(int, double, double, double, double, double*, double*, double*) { return false; }

/// top (m x n) = bottom (m x k) times weight^T (n x k), plus bias (n), if it is not NULL.
bool ThreadedInnerProduct(int m, int n, int k, const float* bottom, const float* weight, const float* bias, float* top);
inline bool ThreadedInnerProduct(int, int, int, const double*, const double*, const double*, double*) { return false; }

/// weight_diff (n x k) += top_diff^T (m x n) times bottom (m x k).
bool ThreadedWeightGradient(int m, int n, int k, const float* top_diff, const float* bottom, float* weight_diff);
inline bool ThreadedWeightGradient(int, int, int, const double*, const double*, double*) { return false; }

/// bottom_diff (m x k) = top_diff (m x n) times weight (n x k).
bool ThreadedBottomGradient(int m, int n, int k, const float* top_diff, const float* weight, float* bottom_diff);
inline bool ThreadedBottomGradient(int, int, int, const double*, const double*, double*) { return false; }

/// top = max(bottom, 0) + slope * min(bottom, 0): the same numbers as the layer's.
bool ThreadedRelu(int count, const float* bottom, float slope, float* top);
inline bool ThreadedRelu(int, const double*, double, double*) { return false; }

/// bottom_diff = top_diff * (1 where bottom > 0, slope where it is not): the same numbers as the layer's.
bool ThreadedReluGradient(int count, const float* bottom, float slope, const float* top_diff, float* bottom_diff);
inline bool ThreadedReluGradient(int, const double*, double, const double*, double*) { return false; }

/// Windows of max pooling on images of height x width.
struct PoolingShape {
  int height, width, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

/// The largest numbers of the windows of `images` images, and where in the image the first such is: the same numbers
/// as the layer's.
bool ThreadedMaxPooling(const PoolingShape& shape, int images, const float* bottom, float* top, int* mask);
inline bool ThreadedMaxPooling(const PoolingShape&, int, const double*, double*, int*) { return false; }

/// Its gradient: each window's goes to where its largest number was, 0 to the others; the same numbers as the layer's.
bool ThreadedMaxPoolingGradient(const PoolingShape& shape, int images, const float* top_diff, const int* mask,
    float* bottom_diff);
inline bool ThreadedMaxPoolingGradient(const PoolingShape&, int, const double*, const int*, double*) { return false; }

}  // namespace caffe

#endif  // CAFFE_STEPS_LAYER_STEPS_HPP_
