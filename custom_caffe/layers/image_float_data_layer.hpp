#ifndef CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_
#define CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_

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
 * @brief Reads images and their real-valued labels from a text list, on threads of its own.
 *
 * A line of the list is: a path, label_dim numbers and, with hard_sample, one more, the weight of the
 * sample; white space between them. The numbers are counted from the end of the line, so a path may hold
 * spaces. Blank lines are skipped; anything else that cannot be read ends the program, naming the line.
 *
 * Tops: data (N, channels, height, width); labels (N, label_dim); with hard_sample, weights (N, 1).
 * Parameters: image_data_param (source, root_folder, batch_size, new_height, new_width, is_color, shuffle,
 * rand_skip), image_float_data_param, and of transform_param mean_file, mean_value, scale and those below.
 *
 * With is_regression (the default), labels are coordinates that move with the image: first the x values,
 * then as many y values, each the 1-based pixel in the image divided by the image's width or height. So
 * resizing to new_height x new_width does not change them; the other settings change a pixel p as follows:
 *   - pad_ratio (TRAIN): with I = max(1, int(height * pad_ratio)), pad is drawn from -I..I. If positive, the
 *     image gets a black border, 2 pad wide in all on each axis, `before` of it (drawn from 0..2 pad) on the
 *     left or top, and is resized back. Pixel centres map by  p' = (p - 0.5 + before) * size / (size + 2 pad)
 *     + 0.5. If not positive, nothing happens.
 *   - crop_h and crop_w: p' = p - offset, and the divisor is the crop's size from then on. The crop is in the
 *     middle in TEST and with center_crop, else anywhere.
 * Mirroring is refused, as the left landmark would have to become the right one.
 *
 * The images of a batch are read and prepared by several threads: as many as the machine has, up to 8, or as
 * the environment variable CAFFE_IMAGE_THREADS says. All random numbers are drawn before the work is distributed,
 * so a seed gives the same batches with any number of threads.
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

  // What a sample of a batch is made of.
  struct Sample {
    const Line* line;
    // Numbers in [0, 1) that decide on: pad, the border on the left and at the top, the crop's left and top.
    double draws[5];
  };

  // What a thread needs for itself: both change when they are used.
  struct Worker {
    shared_ptr<DataTransformer<Dtype> > transformer;
    Blob<Dtype> picture;
  };

  virtual void load_batch(Batch<Dtype>* batch);

  void ReadList();
  void ShuffleLines();
  // A number in [0, 1).
  double Draw();
  Sample NextSample();
  // Writes the picture and the labels of a sample; returns what is wrong with it, or nothing.
  std::string MakeSample(const Sample& sample, Dtype* picture, Dtype* labels, Worker* worker) const;
  // The image of a line, resized. Throws std::runtime_error.
  cv::Mat ReadImage(const Line& line) const;
  // The image as the net gets it, before mean and scale; moves `labels` along. Throws std::runtime_error.
  cv::Mat Place(const cv::Mat& image, const double* draws, Dtype* labels) const;
  // "ImageFloatData: <path> (<list> line <number>): <what>".
  std::string Describe(const Line& line, const std::string& what) const;

  float pad_ratio_;
  int crop_h_, crop_w_;
  bool center_crop_;
  int label_dim_;
  bool hard_sample_;
  vector<Line> lines_;
  vector<int> order_;  // of the lines, for this round
  size_t next_;  // in order_
  int height_, width_;  // of the first image
  shared_ptr<Caffe::RNG> rng_;
  vector<Worker> workers_;
  Blob<Dtype> rows_;  // with hard_sample, a view of the prefetched labels and weights
};

}  // namespace caffe

#endif  // CAFFE_IMAGE_FLOAT_DATA_LAYER_HPP_
