#ifndef CAFFE_WEIGHT_EUCLIDEAN_LOSS_LAYER_HPP_
#define CAFFE_WEIGHT_EUCLIDEAN_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/layers/loss_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Squared error of 68 landmarks, weighted by groups of landmarks and optionally divided by the
 *        size of the face:  1/(2N) sum_n 1/d_n sum_i w_i (s_ni (p_ni - t_ni))^2.
 *
 * Bottoms: predictions p and targets t, each of N x 136 numbers (68 x values, then 68 y values; any further
 * axes of size one are fine), and optionally factors s, of N x 136 numbers or N (one for a whole sample).
 * Top: the loss. Parameters: weight_euclidean_loss_param.
 *
 * Weights w: all are 0, then contour_weight goes to landmarks 1-17, main_weight to 18-68 and coarse_weight
 * to 13 of them, each only if it is not 0; so a coarse_weight of 0 leaves those 13 as main_weight set them.
 *
 * Distance d of a sample, measured on its target: 1 if normalized is 0. Else, for normalized_type 0, called
 * inter-pupil, that between the points (x of landmark 37, y of landmark 40) and (x of 43, y of 46), as published.
 * For normalized_type 1, the diagonal of the landmarks' bounding box. It is at least FLT_MIN.
 *
 * The gradient goes to the predictions, and to the targets where d does not depend on them.
 */
template <typename Dtype>
class WeightEuclideanLossLayer : public LossLayer<Dtype> {
 public:
  explicit WeightEuclideanLossLayer(const LayerParameter& param)
      : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "WeightEuclideanLoss"; }
  virtual inline int ExactNumBottomBlobs() const { return -1; }
  virtual inline int MinBottomBlobs() const { return 2; }
  virtual inline int MaxBottomBlobs() const { return 3; }
  virtual inline bool AllowForceBackward(const int bottom_index) const {
    return bottom_index == 0;
  }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  // The distance d of the target of one sample.
  Dtype Distance(const Dtype* target) const;
  // Ends the program when a gradient is asked for that there is none of.
  void CheckBackward(const vector<bool>& propagate_down) const;

  Blob<Dtype> weights_;    // by landmark
  Blob<Dtype> losses_;     // by sample, on the GPU
  Blob<Dtype> gradient_;   // of the loss, by the predictions
};

}  // namespace caffe

#endif  // CAFFE_WEIGHT_EUCLIDEAN_LOSS_LAYER_HPP_
