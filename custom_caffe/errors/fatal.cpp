#include "caffe/errors/fatal.hpp"

#include <gflags/gflags.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <mutex>
#include <sstream>
#include <string>

#ifndef GFLAGS_GFLAGS_H_
namespace gflags = google;
#endif

namespace caffe {

namespace {

std::string BaseName(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// One line: without the line ends that some messages close with or hold.
std::string OneLine(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  for (char& character : text) {
    if (character == '\n' || character == '\r') { character = ' '; }
  }
  return text;
}

std::string Described(const std::string& message, const std::string& place) {
  return place.empty() ? message : message + " [" + place + "]";
}

std::terminate_handler before = nullptr;

void EndWithOneLine() {
  try {
    std::exception_ptr error = std::current_exception();
    if (error) { std::rethrow_exception(error); }
  } catch (const FatalError& error) {
    PrintFatal(error);
    std::signal(SIGABRT, SIG_DFL);  // glog's would add the stack
    std::abort();
  } catch (...) {
  }
  if (before) { before(); }
  std::abort();
}

}  // namespace

FatalError::FatalError(const std::string& file, int line, const std::string& message, const std::string& place)
    : std::runtime_error(Described(OneLine(message), place)),
      file_(BaseName(file)),
      line_(line),
      message_(OneLine(message)),
      place_(place) {}

FatalError::~FatalError() throw() {}

FatalError FatalError::In(const std::string& place) const {
  return FatalError(file_, line_, message_, place_.empty() ? place : place_ + ", " + place);
}

std::string FatalError::LogLine() const {
  timeval now;
  gettimeofday(&now, nullptr);
  tm local;
  localtime_r(&now.tv_sec, &local);
  char prefix[64];
  std::snprintf(prefix, sizeof(prefix), "F%02d%02d %02d:%02d:%02d.%06d %5d ", local.tm_mon + 1, local.tm_mday,
      local.tm_hour, local.tm_min, local.tm_sec, static_cast<int>(now.tv_usec),
      static_cast<int>(syscall(SYS_gettid)));
  std::ostringstream text;
  text << prefix << file_ << ':' << line_ << "] " << what();
  return text.str();
}

void PrintFatal(const FatalError& error) {
  const std::string line = error.LogLine() + "\n";
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  if (FLAGS_logtostderr || !google::IsGoogleLoggingInitialized()) { return; }
  for (int severity = google::GLOG_INFO; severity <= google::GLOG_FATAL; ++severity) {
    google::base::GetLogger(severity)->Write(true, std::time(nullptr), line.c_str(), line.size());
  }
}

void PrintUncaught() {
  static std::once_flag once;
  std::call_once(once, [] { before = std::set_terminate(EndWithOneLine); });
}

void LogWithoutYear() {
  if (std::getenv("GLOG_log_year_in_prefix") == nullptr) {
    // Does nothing where glog has no such flag.
    gflags::SetCommandLineOptionWithMode("log_year_in_prefix", "false", gflags::SET_FLAGS_DEFAULT);
  }
}

FatalMessage::FatalMessage(const char* file, int line)
    : file_(file), line_(line), unwinding_(std::uncaught_exceptions()), stream_(new std::ostringstream) {}

FatalMessage::FatalMessage(const char* file, int line, const google::CheckOpString& failed)
    : FatalMessage(file, line) {
  *stream_ << "Check failed: " << *failed.str_ << ' ';
  delete failed.str_;
}

std::ostream& FatalMessage::stream() { return *stream_; }

FatalMessage::~FatalMessage() noexcept(false) {
  const FatalError error(file_, line_, stream_->str());
  delete stream_;
  if (std::uncaught_exceptions() > unwinding_) {  // what was to be streamed has thrown itself
    PrintFatal(error);
    std::terminate();
  }
  throw error;
}

}  // namespace caffe
