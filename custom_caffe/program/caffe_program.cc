// The `caffe` command as a function of a library. libcaffe holds the Python layer but is not linked to
// libpython, so a program of its own could not load it; a Python process can, and it runs nets with Python
// layers under the very interpreter the wheel was built for.
#define main caffe_command_main
#include "../caffe.cpp"
#undef main

extern "C" int caffe_program(int argc, char** argv) {
  return caffe_command_main(argc, argv);
}
