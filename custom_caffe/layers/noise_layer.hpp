#ifndef CAFFE_NOISE_LAYER_HPP_
#define CAFFE_NOISE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/layers/neuron_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Adds noise in the TRAIN phase and copies in the TEST phase; the gradient passes unchanged.
 *
 * Parameters: noise_param.
 *   - gaussian_std: normal noise whose standard deviation is gaussian_std times the root mean square of the
 *     whole bottom blob, on the CPU and on the GPU. (The published layer multiplies that of the GPU by a whole
 *     number from 0 to 3 drawn for each batch; this one does not.)
 *   - uniform_range: uniform noise in [-uniform_range, uniform_range]. Not together with gaussian_std.
 *   - bias: the mean of the noise; if neither of the other two is given, only it is added.
 *
 * Random numbers come from Caffe's generator, so random_seed repeats them. Can work in place.
 */
template <typename Dtype>
class NoiseLayer : public NeuronLayer<Dtype> {
 public:
  explicit NoiseLayer(const LayerParameter& param)
      : NeuronLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "Noise"; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  Blob<Dtype> noise_;
  // Sums of squares on the GPU: so few that each thread can afford to add them all up.
  enum { kPartialSums = 64 };
  Blob<Dtype> partial_;
};

}  // namespace caffe

#endif  // CAFFE_NOISE_LAYER_HPP_
