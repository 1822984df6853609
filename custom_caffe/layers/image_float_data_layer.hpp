#ifndef CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_
#define CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_

#ifdef USE_OPENCV
#include <opencv2/core/core.hpp>

#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/data_transformer.hpp"
#include "caffe/internal_thread.hpp"
#include "caffe/layer.hpp"
#include "caffe/layers/base_data_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief Reads images and their real-valued labels from a text list, on a thread of its own.
 *
 * A line of the list is: a path, label_dim numbers and, with hard_sample, one more, the weight of the
 * sample; white space between them. The numbers are counted from the end of the line, so a path may hold
 * spaces. Blank lines are passed over; anything else that cannot be read ends the program, naming the line.
 *
 * Tops: data (N, channels, height, width); labels (N, label_dim); with hard_sample, weights (N, 1).
 * Parameters: image_data_param (source, root_folder, batch_size, new_height, new_width, is_color, shuffle,
 * rand_skip), image_float_data_param, and of transform_param mean_file, mean_value, scale and those below.
 *
 * With is_regression (the default), labels are coordinates that move with the picture: first the x values,
 * then as many y values, each the 1-based pixel in the image divided by the image's width or height. So
 * resizing to new_height x new_width leaves them, and the others change them like this, for a pixel p:
 *   - pad_ratio (TRAIN): with I = max(1, int(height * pad_ratio)), pad is drawn from -I..I. If positive, the
 *     image gets a black border, 2 pad wide in all on each axis, `before` of it (drawn from 0..2 pad) on the
 *     left or top, and is resized back. Pixel centres map by  p' = (p - 0.5 + before) * size / (size + 2 pad)
 *     + 0.5. If not positive, nothing happens.
 *   - crop_h and crop_w: p' = p - offset, and the divisor is the crop's size from then on. The crop is in the
 *     middle in TEST and with center_crop, else anywhere.
 * Mirroring is refused: the left landmark would have to become the right one.
 */
template <typename Dtype>
class ImageFloatDataLayer : public BasePrefetchingDataLayer<Dtype> {
 public:
  explicit ImageFloatDataLayer(const LayerParameter& param);
  virtual ~ImageFloatDataLayer();
  virtual void DataLayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "ImageFloatData"; }
  virtual inline int ExactNumBottomBlobs() const { return 0; }
  virtual inline int MinTopBlobs() const { return 2; }
  virtual inline int MaxTopBlobs() const { return 3; }

 protected:
  struct Line {
    int number;  // in the list, from 1
    std::string path;
    vector<float> values;
  };

  virtual void load_batch(Batch<Dtype>* batch);

  void ReadList();
  void ShuffleLines();
  // The image of a line, resized, or a fatal error that names the line.
  cv::Mat ReadImage(const Line& line) const;
  // The picture as the net gets it, before mean and scale; moves `labels` along.
  cv::Mat Place(const cv::Mat& image, Dtype* labels);
  // A whole number from `low` to `high`, both included.
  int Draw(int low, int high);

  float pad_ratio_;
  int crop_h_, crop_w_;
  bool center_crop_;
  int label_dim_;
  bool hard_sample_;
  vector<Line> lines_;
  vector<Dtype> split_labels_;  // memory of the second top, with hard_sample
  size_t next_line_;
  shared_ptr<Caffe::RNG> rng_;
};

}  // namespace caffe

#endif  // USE_OPENCV
#endif  // CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_
