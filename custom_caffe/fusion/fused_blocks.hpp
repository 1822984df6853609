#ifndef CAFFE_FUSION_FUSED_BLOCKS_HPP_
#define CAFFE_FUSION_FUSED_BLOCKS_HPP_

#include <algorithm>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/fusion/seen_blobs.hpp"
#include "caffe/kernels/block_kernels.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

/// A learned blob of a layer, and whether its gradient is wanted.
struct Parameter {
  Blob<float>* blob = nullptr;
  bool learned = false;
  const float* data() const { return blob->cpu_data(); }
};

/// A BatchNorm layer and the Scale layer after it: to = scale * from + shift per channel.
struct Normalisation {
  Blob<float>* mean_sum = nullptr;
  Blob<float>* variance_sum = nullptr;
  Blob<float>* weight_sum = nullptr;
  Parameter gamma, beta;
  float epsilon = 0, fraction = 0;
  bool global = false;
  Floats mean, inverse, scale, shift;  // inverse: of the standard deviation

  std::vector<const Blob<float>*> blobs() const {
    return {mean_sum, variance_sum, weight_sum, gamma.blob, beta.blob};
  }

  /// From this batch's mean and variance over `count` values a channel; moves the running averages on.
  void SetBatch(const std::vector<double>& batch_mean, const std::vector<double>& variance, double count);
  /// From the running averages.
  void SetGlobal();
  /// Adds the gradients of gamma and beta, and gives to = scale * gradient + z_scale * z + shift, the gradient of
  /// the values z before the normalisation: products are sums of gradient * (z - mean), sums those of gradient.
  void Backward(const std::vector<double>& sums, const std::vector<double>& products, double count,
      Floats* z_scale, Floats* z_shift) const;

 private:
  void Set(const std::vector<double>& means, const std::vector<double>& variances);
};

/// One axis of a filter of `taps` taps on `in` positions with `pad` zeros at either end.
struct FilterAxis {
  int in, out, taps, stride, pad;

  /// Positions with the zeros.
  int padded() const { return in + 2 * pad; }
  /// Positions of the output's gradient with the zeros that the gradient of the input reads, and how many of those
  /// come first.
  int padded_out() const { return lead() + std::max(out, (in - 1 + pad) / stride + 1); }
  int lead() const { return (taps - 1) / stride; }
};

/// Those of the input's positions along an axis that meet every stride-th tap from the same one on.
struct FilterPhase {
  FilterPhase(const FilterAxis& axis, int phase);
  int first, count;            // positions first, first + stride, ...
  int taps, last_tap, source;  // the last tap meets `source` of the padded gradient at the first position
};

/**
 * @brief Part of a fused run. Batches are num x pixels x channels (NHWC).
 */
class FusedUnit {
 public:
  virtual ~FusedUnit() {}
  virtual int channels() const = 0;
  virtual int pixels() const = 0;
  /// Which of the threads' memory is this unit's alone: part `part` and the one after it. Zeros there stay.
  void set_own_part(int part) { own_part_ = part; }
  /// Allocates for a batch of `num` images.
  virtual void Resize(int num) = 0;
  /// Batch statistics: reads the batch `from`, gives the batch it writes.
  virtual const float* Forward(const float* from, std::vector<Scratch>* scratch) = 0;
  /// `gradient` of what Forward gave, which it overwrites; returns that of `from`, or null if it computes none.
  virtual float* Backward(const float* from, float* gradient, std::vector<Scratch>* scratch) = 0;
  /// Global statistics: folds the normalisations into the weights if they changed, and then computes one image.
  virtual void Fold() = 0;
  virtual void Infer(const float* from, float* to, Scratch* scratch) const = 0;

 protected:
  int own_part_ = 0;
};

/// A convolution of NCHW images with BatchNorm, Scale and ReLU: a network's first.
class FusedStem : public FusedUnit {
 public:
  struct Shape {
    int channels, height, width, outputs, kernel, stride, pad, out_height, out_width;
  };
  FusedStem(const Shape& shape, const Parameter& weights, const Parameter& bias, const Normalisation& normalisation,
      float slope);
  int channels() const override { return shape_.outputs; }
  int pixels() const override { return shape_.out_height * shape_.out_width; }
  void Resize(int num) override;
  const float* Forward(const float* from, std::vector<Scratch>* scratch) override;
  float* Backward(const float* from, float* gradient, std::vector<Scratch>* scratch) override;
  void Fold() override;
  void Infer(const float* from, float* to, Scratch* scratch) const override;

 private:
  int taps() const { return shape_.channels * shape_.kernel * shape_.kernel; }
  // An image with zeros around it, and how wide it is.
  int padded_width() const { return shape_.width + 2 * shape_.pad; }
  const float* Padded(const float* image, Scratch* scratch) const;
  void Convolve(const float* image, const Floats& start, float slope, Scratch* scratch, float* to) const;

  const Shape shape_;
  const Parameter weights_, bias_;
  Normalisation normalisation_;
  const float slope_;
  std::vector<int> offsets_;  // of the taps in a padded image; filled up to a multiple of four
  int num_ = 0;
  Floats start_, transposed_, raw_, out_;
  SeenBlobs seen_;
};

/**
 * @brief An inverted residual block: 1x1 convolution, depthwise convolution, 1x1 convolution, each normalised, the
 *        first two with a ReLU; at stride 1 with or without the sum with the block's input.
 *
 * The wide result of the first convolution is never written down. Its normalisation needs its mean and variance,
 * which follow from the mean and covariance of the narrow input x: of y = W x they are W mean and w^T Cov w. The
 * backward pass computes it again, and needs no second pass for the normalisation's sums: the gradient is linear
 * in them and in x, so that they can be put in afterwards, in the narrow input's space (Backward).
 */
class FusedBlock : public FusedUnit {
 public:
  struct Shape {
    int channels, wide, outputs, height, width, kernel, stride, pad, out_height, out_width;
    bool residual;
  };
  FusedBlock(const Shape& shape, const Parameter& expand, const Parameter& depthwise, const Parameter& project,
      const Normalisation& expanded, const Normalisation& filtered, const Normalisation& projected,
      float expanded_slope, float filtered_slope);
  int channels() const override { return shape_.outputs; }
  int pixels() const override { return shape_.out_height * shape_.out_width; }
  void Resize(int num) override;
  const float* Forward(const float* from, std::vector<Scratch>* scratch) override;
  float* Backward(const float* from, float* gradient, std::vector<Scratch>* scratch) override;
  void Fold() override;
  void Infer(const float* from, float* to, Scratch* scratch) const override;

 private:
  int in_pixels() const { return shape_.height * shape_.width; }
  void InputMoments(const float* from, std::vector<Scratch>* scratch);
  void Transpose();
  void Expand(const float* image, int first, int group, float* expanded) const;
  void ExpandAndFilter(const float* image, Scratch* scratch, float* to) const;
  TapGrid ForwardTaps() const;

  const Shape shape_;
  const Parameter expand_, depthwise_, project_;
  Normalisation expanded_, filtered_, projected_;
  const float expanded_slope_, filtered_slope_;
  const FilterAxis rows_, columns_;
  int num_ = 0, group_ = 0;
  std::vector<double> mean_, covariance_;       // of the input
  std::vector<double> spread_;                  // its covariance times expand's weights, a row for each of these
  Floats ones_, zeros_;
  Floats scaled_, scaled_transposed_;           // expand's weights times its normalisation's scale
  Floats filters_, project_transposed_;         // depthwise's as taps x channels
  Floats filtered_raw_, projected_raw_, out_, filtered_gradient_, in_gradient_;
  SeenBlobs seen_;
};

}  // namespace caffe

#endif  // CAFFE_FUSION_FUSED_BLOCKS_HPP_
