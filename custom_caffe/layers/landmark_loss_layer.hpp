#ifndef CAFFE_LANDMARK_LOSS_LAYER_HPP_
#define CAFFE_LANDMARK_LOSS_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/layers/loss_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Mean error of 68 landmarks over the size of the face, by a function in which large errors do not
 *        dominate:  1/(68 N) sum_n sum_i f(p_ni - t_ni, d_n).
 *
 * Bottoms: predictions p and targets t, each of N x 136 numbers (68 x values, then 68 y values; any further axes of
 * size one are fine). Top: the loss. Parameters: landmark_loss_param.
 *
 * The function f of a landmark's error (x, y), with x and y divided by d:
 *   DISTANCE   sqrt(x^2 + y^2): with INTER_PUPIL or INTER_OCULAR the loss is the NME
 *   L1         |x| + |y|
 *   SMOOTH_L1  g(x) + g(y), g(e) = e^2 / (2 width) where |e| < width, else |e| - width / 2
 *   WING       g(x) + g(y), g(e) = width ln(1 + |e| / curvature) where |e| < width, else |e| - C, C such that both
 *              meet at the width (Feng et al., "Wing loss for robust facial landmark localisation", CVPR 2018)
 *
 * The size d of a face, measured on its target and at least min_size: 1 for NONE, the distance between the means of
 * landmarks 37-42 and 43-48 for INTER_PUPIL, between landmarks 37 and 46 for INTER_OCULAR.
 *
 * The gradient goes to the predictions only.
 */
template <typename Dtype>
class LandmarkLossLayer : public LossLayer<Dtype> {
 public:
  explicit LandmarkLossLayer(const LayerParameter& param) : LossLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "LandmarkLoss"; }
  virtual inline bool AllowForceBackward(const int bottom_index) const { return bottom_index == 0; }

 protected:
  // On the GPU too: 136 numbers a face.
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
      const vector<Blob<Dtype>*>& bottom);

  Dtype Size(const Dtype* target) const;

  Blob<Dtype> gradient_;  // of the loss, by the predictions
};

}  // namespace caffe

#endif  // CAFFE_LANDMARK_LOSS_LAYER_HPP_
