// Preloaded into a program: counts its calls that change files below a folder, and kills it before one of them.
//
// KILL_AT_BELOW: the folder, without links in its path; KILL_AT_COUNT: a file of 4 bytes, the calls so far of
// all processes together; KILL_AT_STEP: the call before which the process group is killed (0: none);
// KILL_AT_LOG: a file that gets a line for each call, if set.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int *counted;
static int last;
static const char *below;
static const char *names;

__attribute__((constructor)) static void start(void) {
  below = getenv("KILL_AT_BELOW");
  names = getenv("KILL_AT_LOG");
  const char *step = getenv("KILL_AT_STEP"), *count = getenv("KILL_AT_COUNT");
  if (!below || !count) return;
  last = step ? atoi(step) : 0;
  int file = syscall(SYS_openat, AT_FDCWD, count, O_RDWR);
  if (file >= 0) counted = mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (counted == MAP_FAILED) counted = NULL;
  close(file);
}

static void step(const char *call, const char *path) {
  size_t length = strlen(below);
  if (strncmp(path, below, length) || (path[length] && path[length] != '/')) return;
  int now = __atomic_add_fetch(counted, 1, __ATOMIC_SEQ_CST);
  if (names) {
    char line[PATH_MAX + 100];
    int size = snprintf(line, sizeof line, "%d %s %s\n", now, call, path + length);
    int file = syscall(SYS_openat, AT_FDCWD, names, O_WRONLY | O_APPEND | O_CREAT, 0600);
    syscall(SYS_write, file, line, size);
    close(file);
  }
  if (now == last) {
    kill(0, SIGKILL);
    for (;;) pause();
  }
}

static void at_descriptor(const char *call, int descriptor) {
  char link[40], path[PATH_MAX];
  if (!counted) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return;
  path[length] = 0;
  step(call, path);
}

static void at_path(const char *call, int directory, const char *path) {
  char link[40], whole[2 * PATH_MAX];
  if (!counted || !path) return;
  if (path[0] == '/') {
    step(call, path);
    return;
  }
  if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
  else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  ssize_t length = readlink(link, whole, PATH_MAX - 1);
  if (length <= 0) return;
  snprintf(whole + length, PATH_MAX, "/%s", path);
  step(call, whole);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, parameters, arguments, what) \
  type name parameters { what; return NEXT(name) arguments; }

CALL(int, rename, (const char *a, const char *b), (a, b), at_path("rename", AT_FDCWD, b))
CALL(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), at_path("rename", e, b))
CALL(int, renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f),
     at_path("exchange", e, b))
CALL(int, unlink, (const char *a), (a), at_path("unlink", AT_FDCWD, a))
CALL(int, unlinkat, (int d, const char *a, int f), (d, a, f), at_path("unlink", d, a))
CALL(int, rmdir, (const char *a), (a), at_path("rmdir", AT_FDCWD, a))
CALL(int, mkdir, (const char *a, mode_t m), (a, m), at_path("mkdir", AT_FDCWD, a))
CALL(int, mkdirat, (int d, const char *a, mode_t m), (d, a, m), at_path("mkdir", d, a))
CALL(int, truncate, (const char *a, off_t n), (a, n), at_path("truncate", AT_FDCWD, a))
CALL(int, ftruncate, (int d, off_t n), (d, n), at_descriptor("truncate", d))
CALL(int, ftruncate64, (int d, off64_t n), (d, n), at_descriptor("truncate", d))
CALL(int, posix_fallocate, (int d, off_t o, off_t n), (d, o, n), at_descriptor("allocate", d))
CALL(int, posix_fallocate64, (int d, off64_t o, off64_t n), (d, o, n), at_descriptor("allocate", d))
CALL(int, fsync, (int d), (d), at_descriptor("sync", d))
CALL(int, fdatasync, (int d), (d), at_descriptor("sync", d))
CALL(ssize_t, write, (int d, const void *b, size_t n), (d, b, n), at_descriptor("write", d))
CALL(ssize_t, writev, (int d, const struct iovec *v, int n), (d, v, n), at_descriptor("write", d))
CALL(ssize_t, pwrite, (int d, const void *b, size_t n, off_t o), (d, b, n, o), at_descriptor("write", d))
CALL(ssize_t, pwrite64, (int d, const void *b, size_t n, off64_t o), (d, b, n, o), at_descriptor("write", d))
CALL(ssize_t, pwritev, (int d, const struct iovec *v, int n, off_t o), (d, v, n, o), at_descriptor("write", d))

#define OPEN(name, parameters, directory, arguments)                                 \
  int name parameters {                                                              \
    mode_t mode = 0;                                                                 \
    if (flags & (O_CREAT | O_TMPFILE)) {                                             \
      va_list more;                                                                  \
      va_start(more, flags);                                                         \
      mode = va_arg(more, int);                                                      \
      va_end(more);                                                                  \
    }                                                                                \
    if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) at_path("open", directory, path); \
    return NEXT(name) arguments;                                                     \
  }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int directory, const char *path, int flags, ...), directory, (directory, path, flags, mode))
OPEN(openat64, (int directory, const char *path, int flags, ...), directory, (directory, path, flags, mode))

#define STREAM(name)                                                  \
  FILE *name(const char *path, const char *mode) {                    \
    if (strpbrk(mode, "wa+")) at_path("open", AT_FDCWD, path);        \
    return NEXT(name)(path, mode);                                    \
  }

STREAM(fopen)
STREAM(fopen64)
