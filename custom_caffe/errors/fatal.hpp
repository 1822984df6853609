#ifndef CAFFE_ERRORS_FATAL_HPP_
#define CAFFE_ERRORS_FATAL_HPP_

#include <glog/logging.h>

#include <iosfwd>
#include <stdexcept>
#include <string>

namespace caffe {

/// What a failed CHECK or a LOG(FATAL) throws. pycaffe makes a RuntimeError of it, the `caffe` command prints it.
class FatalError : public std::runtime_error {
 public:
  /// message: what was streamed; file, line: where in the source.
  FatalError(const std::string& file, int line, const std::string& message, const std::string& place = "");
  virtual ~FatalError() throw();

  /// The same error with one more thing that it concerns, such as "layer 'ip' of net.prototxt".
  FatalError In(const std::string& place) const;

  const std::string& message() const { return message_; }
  const std::string& place() const { return place_; }
  /// One line as glog writes it, with its severity, the time, the thread and the place in the source.
  std::string LogLine() const;

 private:
  std::string file_;
  int line_;
  std::string message_, place_;
};

/// Writes the error's LogLine to the standard error and to glog's files.
void PrintFatal(const FatalError& error);

/// An error that nothing can catch, as it leaves a destructor or a thread, ends the process with its one line.
void PrintUncaught();

/// Lines of the log begin as in every Caffe, "I1128 20:17:10", without the year that glog adds from 0.5 on, unless
/// GLOG_log_year_in_prefix or --log_year_in_prefix asks for it.
void LogWithoutYear();

/**
 * @brief Stands in for google::LogMessageFatal, whose destructor may not throw.
 *
 * Throws FatalError when it is destroyed, which is when the whole message has been streamed into it.
 */
class FatalMessage {
 public:
  FatalMessage(const char* file, int line);
  FatalMessage(const char* file, int line, const google::CheckOpString& failed);
  __attribute__((noreturn, cold)) ~FatalMessage() noexcept(false);
  std::ostream& stream();

 private:
  FatalMessage(const FatalMessage&);
  FatalMessage& operator=(const FatalMessage&);

  const char* file_;
  int line_, unwinding_;
  std::ostringstream* stream_;
};

template <typename T>
T* CheckNotNull(const char* file, int line, const char* names, T* value) {
  if (value == NULL) { FatalMessage(file, line).stream() << names; }
  return value;
}

}  // namespace caffe

#undef COMPACT_GOOGLE_LOG_FATAL
#define COMPACT_GOOGLE_LOG_FATAL ::caffe::FatalMessage(__FILE__, __LINE__)
#undef CHECK_OP
#define CHECK_OP(name, op, val1, val2) CHECK_OP_LOG(name, op, val1, val2, ::caffe::FatalMessage)
#undef CHECK_NOTNULL
#define CHECK_NOTNULL(val) ::caffe::CheckNotNull(__FILE__, __LINE__, "'" #val "' Must be non NULL", (val))

#endif  // CAFFE_ERRORS_FATAL_HPP_
