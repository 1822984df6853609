#ifndef CAFFE_AUGMENTED_FACE_DATA_LAYER_HPP_
#define CAFFE_AUGMENTED_FACE_DATA_LAYER_HPP_

#include <lmdb.h>

#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/internal_thread.hpp"
#include "caffe/layer.hpp"
#include "caffe/layers/base_data_layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

// Generator of 64 random bits at a time, which depend on three numbers alone. SplitMix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014): starting one costs nothing, so each sample has its own.
class FaceGenerator {
 public:
  explicit FaceGenerator(uint64_t seed = 0, uint64_t number = 0, uint64_t purpose = 0)
      : state_(Mix(Mix(Mix(seed + kStep) + number + kStep) + purpose + kStep)) {}
  uint64_t operator()() { return Mix(state_ += kStep); }

 private:
  static const uint64_t kStep = 0x9e3779b97f4a7c15;
  static uint64_t Mix(uint64_t bits) {
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    return bits ^ (bits >> 31);
  }

  uint64_t state_;
};

// A smooth field over a crop: the sum over i, j < kModes, but i = j = 0, of a coefficient times
// cos(pi i (x + 1/2) / width) cos(pi j (y + 1/2) / height).
class SmoothField {
 public:
  static const int kModes = 4;
  static const int kCoefficients = kModes * kModes - 1;

  // Draws each coefficient uniformly between two bounds that fall as 1 / sqrt(i^2 + j^2), such that the mean
  // square over all draws and the crop is strength^2.
  void Draw(double strength, FaceGenerator* generator);
  bool zero() const;
  // Value at a point whose cosines for i = 0, 1, ... are given.
  double At(const double* cosines_x, const double* cosines_y) const;
  // Coefficients along a row, whose values are the sums over i of along[i] cos(pi i (x + 1/2) / width).
  void Row(const double* cosines_y, double* along) const;

 private:
  float coefficients_[kCoefficients];  // of (i, j) = (0, 1), (0, 2), ... (1, 0), ...
};

/**
 * @brief Face crops and landmarks from context crops, augmented on the fly, on threads of its own.
 *
 * The LMDB holds one face a record: a Datum with a part of a photo, larger than the crop (3 channels, BGR, one
 * after the other), and 140 numbers: the upper left and lower right corner x1 y1 x2 y2 of the square that the
 * plain crop shows (edges; pixel centres are whole numbers; the square may be rotated), then the 68 landmarks,
 * x values first, in 0-based pixels. A key is a number, a space and the name of the set that the face is from.
 * facealign/lmdb/context_crop_writer.py writes such an LMDB.
 *
 * Tops: data (N, 3, height, width); landmark (N, 136): 68 x, then 68 y, each the 1-based pixel in the crop
 * divided by the crop's width or height; optionally what was drawn (N, 66), see Drawn below.
 * Parameters: augmented_face_data_param; of transform_param mean_value and scale.
 *
 * In TRAIN the context crop is resampled once, through the composition of these maps: that of the plain crop;
 * scale, rotation and shift about its centre; flip, with which left and right landmarks change places; and,
 * with its probability, the elastic deformation `deform`, which changes the proportions of the face. Sampling is
 * bilinear, black outside, after averages of 2 x 2 pixels as long as it shrinks by 2 or more; the result is
 * rounded to grey levels. Then follows photometric augmentation, each with its probability: shade, channel_gain,
 * contrast, brightness, grey, blur, occlusion; and a second rounding. Then noise, and a third rounding. In TEST
 * it is the plain crop, and faces come in the order of the LMDB.
 *
 * deform and shade are smooth fields over the crop: sums of cosines, see SmoothField. The strength of deform is
 * the root mean square displacement along either axis, as a fraction of the crop's longer side: pixel p shows
 * what is at p + field(p) without it. That of shade is the root mean square of the logarithm of a brightness
 * factor.
 *
 * Sample number n, counted from first_sample, depends on n, seed and parameters alone: neither on the number
 * of threads (CAFFE_IMAGE_THREADS, see data_threads.hpp) nor on earlier samples. All its random numbers are always
 * drawn, in the same order, so that changing one setting leaves the other augmentations as they were. Without
 * set_weight, sample n is a face of epoch n / (number of faces), each epoch in an order of its own; with it,
 * first the set is drawn, then one of its faces.
 */
template <typename Dtype>
class AugmentedFaceDataLayer : public BasePrefetchingDataLayer<Dtype> {
 public:
  explicit AugmentedFaceDataLayer(const LayerParameter& param);
  virtual ~AugmentedFaceDataLayer();
  virtual void DataLayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "AugmentedFaceData"; }
  virtual inline int ExactNumBottomBlobs() const { return 0; }
  virtual inline int MinTopBlobs() const { return 2; }
  virtual inline int MaxTopBlobs() const { return 3; }

 protected:
  // How a sample is varied. All float, as they are the third top too.
  struct Drawn {
    float record;  // its place in the LMDB
    float flip, shift_x, shift_y, scale, angle, noise_std;
    float gain[3], contrast, brightness, grey, blur;
    float left, top, right, bottom, colour[3];  // the occlusion, in pixels
    SmoothField deform_x, deform_y, shade;  // all 0: none; deform's values are pixels

    bool bent() const { return !deform_x.zero() || !deform_y.zero(); }
    bool looks_change() const {
      return !shade.zero() || gain[0] != 1 || gain[1] != 1 || gain[2] != 1 || contrast != 1 || brightness != 0
          || grey != 0 || blur > 0 || right > left;
    }
  };
  static const int kDrawn = sizeof(Drawn) / sizeof(float);

  static_assert(sizeof(Drawn) == 66 * sizeof(float), "what is drawn is a row of floats");

  // Views of the LMDB, which stay while it is open.
  struct Record {
    MDB_val key, value;
  };

  // Sets of faces that are drawn from together.
  struct Pool {
    double until;  // of the numbers in [0, 1): where the next pool's begin
    vector<int> records;
  };

  // What a thread needs for itself.
  struct Worker {
    Datum datum;
    vector<uint8_t> halved;
    vector<float> planes;
    FaceGenerator generator;
  };

  virtual void load_batch(Batch<Dtype>* batch);

  void OpenLmdb();
  void CloseLmdb();
  void MakePools();
  // The record of a sample for which no pool is drawn. For numbers that rise.
  int InTurn(uint64_t number);
  Drawn Draw(int record, FaceGenerator* generator) const;
  // Draws the fields; they have a generator of their own.
  void DrawFields(FaceGenerator* generator, Drawn* drawn) const;
  // Writes the picture and the row of landmarks (and what was drawn) of a sample; returns what is wrong with
  // it, or nothing.
  std::string MakeSample(uint64_t number, int record, Dtype* picture, Dtype* row, Worker* worker) const;
  // Writes the landmarks; the worker's planes get the picture, in whole grey levels.
  void Warp(const Drawn& drawn, Dtype* landmarks, Worker* worker) const;
  void ChangeLooks(const Drawn& drawn, Worker* worker) const;
  std::string Describe(const Record& record, const std::string& what) const;

  const AugmentedFaceDataParameter param_;
  const int height_, width_;
  vector<double> across_, down_;  // the cosines of all places of either axis, for the fields
  uint64_t seed_, next_;
  int stride_;  // between the numbers of this layer's samples, when several solvers share them
  MDB_env* environment_;
  MDB_txn* transaction_;
  vector<Record> records_;
  vector<Pool> pools_;  // none: faces come in turn
  vector<int> order_;  // of the round `round_`
  uint64_t round_;
  vector<float> means_;
  vector<float> quantiles_;  // 65536 of the standard normal distribution
  vector<Worker> workers_;
  Blob<Dtype> rows_;  // with a third top, a view of the prefetched landmarks and what was drawn
};

}  // namespace caffe

#endif  // CAFFE_AUGMENTED_FACE_DATA_LAYER_HPP_
