/* Records, in order, whatever a process changes below a folder and says on its standard output. Preloaded; changes nothing.

   RECORD_ROOT  the folder, absolute
   RECORD_LOG   where the records go

   A record: kind (1 byte), inode, offset, size (8 bytes each), lengths of two paths (4 bytes each), the paths, `size` bytes of
   data for the kinds W (written) and M (said). Other kinds: C created or opened with O_CREAT, T truncated or extended to
   `offset`, S file synced, D folder synced, R renamed, L linked, U unlinked. One lock makes the order of the records the order
   of the changes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *root;
static size_t root_length;
static int journal = -1;

static void prepare(void) {
    const char *path = getenv("RECORD_LOG");
    root = getenv("RECORD_ROOT");
    if (path && root) {
        root_length = strlen(root);
        journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

static int recording(void) {
    pthread_once(&once, prepare);
    return journal >= 0;
}

static void emit(const void *data, size_t size) {
    const char *next = data;
    while (size > 0) {
        ssize_t written = syscall(SYS_write, journal, next, size);
        if (written <= 0) abort();
        next += written;
        size -= (size_t)written;
    }
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *data, uint64_t size, const char *first,
                   const char *second) {
    uint32_t lengths[2] = {first ? (uint32_t)strlen(first) : 0, second ? (uint32_t)strlen(second) : 0};
    uint64_t numbers[3] = {inode, offset, size};
    emit(&kind, 1);
    emit(numbers, sizeof numbers);
    emit(lengths, sizeof lengths);
    if (first) emit(first, lengths[0]);
    if (second) emit(second, lengths[1]);
    if (data) emit(data, size);
}

static int inside(const char *path) { return strncmp(path, root, root_length) == 0; }

/* Whether a descriptor is a file or folder below the root; its path and status. */
static int known(int descriptor, char *path, size_t size, struct stat *status) {
    char link[64];
    ssize_t length;
    if (!recording()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path) && fstat(descriptor, status) == 0;
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int descriptor, const void *data, size_t size) {
    char path[4096];
    struct stat status;
    ssize_t written;
    REAL(ssize_t, write, int, const void *, size_t);
    if (recording() && descriptor == 1) {
        pthread_mutex_lock(&order);
        record('M', 0, 0, data, size, NULL, NULL);
        written = real(descriptor, data, size);
        pthread_mutex_unlock(&order);
        return written;
    }
    if (!known(descriptor, path, sizeof path, &status)) return real(descriptor, data, size);
    pthread_mutex_lock(&order);
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    written = real(descriptor, data, size);
    if (written > 0) record('W', status.st_ino, (uint64_t)offset, data, (uint64_t)written, NULL, NULL);
    pthread_mutex_unlock(&order);
    return written;
}

#define PWRITE(name, offset_type)                                                                                      \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) {                                  \
        char path[4096];                                                                                               \
        struct stat status;                                                                                            \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);                                                   \
        if (!known(descriptor, path, sizeof path, &status)) return real(descriptor, data, size, offset);               \
        pthread_mutex_lock(&order);                                                                                    \
        ssize_t written = real(descriptor, data, size, offset);                                                        \
        if (written > 0) record('W', status.st_ino, (uint64_t)offset, data, (uint64_t)written, NULL, NULL);            \
        pthread_mutex_unlock(&order);                                                                                  \
        return written;                                                                                                \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset_type)                                                                                    \
    int name(int descriptor, offset_type size) {                                                                       \
        char path[4096];                                                                                               \
        struct stat status;                                                                                            \
        REAL(int, name, int, offset_type);                                                                             \
        if (!known(descriptor, path, sizeof path, &status)) return real(descriptor, size);                             \
        pthread_mutex_lock(&order);                                                                                    \
        int result = real(descriptor, size);                                                                           \
        if (result == 0) record('T', status.st_ino, (uint64_t)size, NULL, 0, NULL, NULL);                              \
        pthread_mutex_unlock(&order);                                                                                  \
        return result;                                                                                                 \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(name, offset_type)                                                                                   \
    int name(int descriptor, offset_type offset, offset_type size) {                                                   \
        char path[4096];                                                                                               \
        struct stat status;                                                                                            \
        REAL(int, name, int, offset_type, offset_type);                                                                \
        if (!known(descriptor, path, sizeof path, &status)) return real(descriptor, offset, size);                     \
        pthread_mutex_lock(&order);                                                                                    \
        int result = real(descriptor, offset, size);                                                                   \
        if (result == 0 && offset + size > status.st_size)                                                             \
            record('T', status.st_ino, (uint64_t)(offset + size), NULL, 0, NULL, NULL);                                \
        pthread_mutex_unlock(&order);                                                                                  \
        return result;                                                                                                 \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define SYNC(name)                                                                                                     \
    int name(int descriptor) {                                                                                         \
        char path[4096];                                                                                               \
        struct stat status;                                                                                            \
        REAL(int, name, int);                                                                                          \
        if (!known(descriptor, path, sizeof path, &status)) return real(descriptor);                                   \
        pthread_mutex_lock(&order);                                                                                    \
        int result = real(descriptor);                                                                                 \
        if (result == 0) record(S_ISDIR(status.st_mode) ? 'D' : 'S', status.st_ino, 0, NULL, 0, path, NULL);           \
        pthread_mutex_unlock(&order);                                                                                  \
        return result;                                                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

static int opened(int descriptor, int flags) {
    char path[4096];
    struct stat status;
    if (descriptor >= 0 && (flags & (O_CREAT | O_TRUNC)) && known(descriptor, path, sizeof path, &status)) {
        record('C', status.st_ino, 0, NULL, 0, path, NULL);
        if (flags & O_TRUNC) record('T', status.st_ino, 0, NULL, 0, NULL, NULL);
    }
    return descriptor;
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(int, name, const char *, int, ...);                                                                       \
        MODE;                                                                                                          \
        if (!recording()) return real(path, flags, mode);                                                              \
        pthread_mutex_lock(&order);                                                                                    \
        int descriptor = opened(real(path, flags, mode), flags);                                                       \
        pthread_mutex_unlock(&order);                                                                                  \
        return descriptor;                                                                                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        REAL(int, name, int, const char *, int, ...);                                                                  \
        MODE;                                                                                                          \
        if (!recording()) return real(folder, path, flags, mode);                                                      \
        pthread_mutex_lock(&order);                                                                                    \
        int descriptor = opened(real(folder, path, flags, mode), flags);                                               \
        pthread_mutex_unlock(&order);                                                                                  \
        return descriptor;                                                                                             \
    }
OPENAT(openat)
OPENAT(openat64)

/* The queue and SQLite name files by absolute paths, relative to no descriptor: these forms are enough for them. */
int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (!recording()) return real(from, to);
    pthread_mutex_lock(&order);
    int result = real(from, to);
    if (result == 0 && inside(to)) record('R', 0, 0, NULL, 0, from, to);
    pthread_mutex_unlock(&order);
    return result;
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    if (!recording()) return real(from, to);
    pthread_mutex_lock(&order);
    int result = real(from, to);
    if (result == 0 && inside(to)) record('L', 0, 0, NULL, 0, from, to);
    pthread_mutex_unlock(&order);
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!recording()) return real(path);
    pthread_mutex_lock(&order);
    int result = real(path);
    if (result == 0 && inside(path)) record('U', 0, 0, NULL, 0, path, NULL);
    pthread_mutex_unlock(&order);
    return result;
}
