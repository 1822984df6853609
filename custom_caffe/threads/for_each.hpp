#ifndef CAFFE_THREADS_FOR_EACH_HPP_
#define CAFFE_THREADS_FOR_EACH_HPP_

#include <functional>

namespace caffe {

/// The most threads that ForEach uses: OpenMP's number (OMP_NUM_THREADS).
int thread_count();

/**
 * @brief Calls work(i, thread) for i from 0 to count - 1, with thread less than thread_count().
 *
 * Threads take the next i when they are free, so that one that the system holds up delays nothing but its own, and
 * those that find no work sleep after a moment. Denormal numbers count as zeros meanwhile: they cost a hundred times
 * as much. Called by several threads at once, or from within itself, it works through the numbers on the spot. If calls
 * throw, it throws the first such error when all threads have ended; the other numbers may be left out then.
 */
void ForEach(int count, const std::function<void(int, int)>& work);

}  // namespace caffe

#endif  // CAFFE_THREADS_FOR_EACH_HPP_
