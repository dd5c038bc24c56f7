/*
 * Stands between a process and its disk: loaded with LD_PRELOAD, it notes everything that is done to the files in one
 * folder, in order, and fails on demand. It changes nothing else. What it could not note, it refuses with abort():
 * a trace with a hole would prove nothing.
 *
 *   SHIM_FOLDER  the folder; only files directly in it are looked at
 *   SHIM_TRACE   the file for the trace, elsewhere
 *   SHIM_FAULT   first,count,errno,kind: operations first .. first+count-1 fail; kind e: with the error at once;
 *                kind s: the first, if it is a write, is cut short before; kind k: the process dies before the first
 *   SHIM_SPACE   bytes: together the files cannot become larger than this
 *
 * A file whose name is "acks" is the writer's own: noted, but never failed and not counted.
 *
 * One record of the trace: struct record, the name, the data.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    uint32_t number; /* of the operation, from 1; 0: not counted */
    uint8_t kind;    /* O open, T truncate at open, W write, L set length, S sync, D sync of the folder, U unlink, R rename */
    uint8_t unused;
    uint16_t name;   /* its length */
    uint64_t inode;
    uint64_t offset; /* or length, for L */
    uint64_t data;   /* its length */
};

enum { FILES = 4096, NAME = 256 };
static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;
static char names[FILES][NAME]; /* by descriptor; "." is the folder, "" is none of ours */
static uint32_t operations;
static uint32_t fault_first, fault_count;
static int fault_errno, fault_short, fault_kill;
static uint64_t space = UINT64_MAX;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *why) {
    fprintf(stderr, "shim: %s\n", why);
    abort();
}

static void *real(const char *symbol) {
    void *found = dlsym(RTLD_NEXT, symbol);
    if (!found) die(symbol);
    return found;
}
#define REAL(type, symbol) \
    static type (*next)(); \
    if (!next) next = (type (*)())real(symbol)

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHIM_FOLDER");
    if (!text) return;
    snprintf(folder, sizeof folder, "%s", text);
    folder_length = strlen(folder);
    if ((text = getenv("SHIM_SPACE"))) space = strtoull(text, 0, 10);
    if ((text = getenv("SHIM_FAULT"))) {
        char kind = 0;
        if (sscanf(text, "%u,%u,%d,%c", &fault_first, &fault_count, &fault_errno, &kind) != 4) die("SHIM_FAULT");
        fault_short = kind == 's';
        fault_kill = kind == 'k';
    }
    text = getenv("SHIM_TRACE");
    if (!text) die("SHIM_TRACE");
    trace = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) die("the trace cannot be opened");
}

/* The name of a path in the folder, "." for the folder, else none. */
static const char *name_of(const char *path) {
    if (!folder_length || strncmp(path, folder, folder_length)) return 0;
    if (!path[folder_length]) return ".";
    if (path[folder_length] != '/') return 0;
    const char *name = path + folder_length + 1;
    if (!*name) return ".";
    if (strchr(name, '/') || strlen(name) >= NAME) die("a path below the folder is not looked at");
    return name;
}

static const char *name_of_descriptor(int descriptor) {
    if (descriptor < 0 || !folder_length) return 0;
    if (descriptor >= FILES) die("too many files");
    return names[descriptor][0] ? names[descriptor] : 0;
}

static int is_acks(const char *name) { return !strcmp(name, "acks"); }

static void note(uint32_t number, char kind, const char *name, uint64_t inode, uint64_t offset, const void *data, uint64_t length) {
    struct record record = {number, (uint8_t)kind, 0, (uint16_t)strlen(name), inode, offset, length};
    struct iovec parts[3] = {{&record, sizeof record}, {(void *)name, strlen(name)}, {(void *)data, length}};
    if (syscall(SYS_writev, trace, parts, 3) != (ssize_t)(sizeof record + strlen(name) + length)) die("the trace is cut short");
}

static uint64_t inode_of(int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status)) die("fstat");
    return status.st_ino;
}

/* Counts an operation; says whether it fails. A write is cut short by the caller when `is_short` is set. */
static int fails(const char *name, uint32_t *number, int *is_short) {
    *is_short = 0;
    *number = 0;
    if (is_acks(name)) return 0;
    *number = ++operations;
    if (!fault_count || operations < fault_first || operations >= fault_first + fault_count) return 0;
    if (fault_kill) _exit(9);
    if (fault_short && operations == fault_first) {
        *is_short = 1;
        return 0;
    }
    errno = fault_errno;
    return 1;
}

/* How much of the space is left, without the file `but`. */
static uint64_t left_without(uint64_t but) {
    if (space == UINT64_MAX) return space;
    uint64_t used = 0;
    DIR *entries = opendir(folder);
    if (!entries) die("opendir");
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat status;
        if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode)) continue;
        if (status.st_ino != but && !is_acks(entry->d_name)) used += (uint64_t)status.st_size;
    }
    closedir(entries);
    return used < space ? space - used : 0;
}

static int opened(int folder_descriptor, const char *path, int flags, mode_t mode) {
    const char *name = folder_descriptor == AT_FDCWD || path[0] == '/' ? name_of(path) : 0;
    pthread_mutex_lock(&mutex);
    struct stat status;
    int is_new = name && (flags & O_CREAT) && stat(path, &status);
    uint32_t number = 0;
    int is_short, descriptor = -1;
    if (!is_new || !fails(name, &number, &is_short)) descriptor = (int)syscall(SYS_openat, folder_descriptor, path, flags, mode);
    if (descriptor >= 0 && name) {
        if (descriptor >= FILES) die("too many files");
        strcpy(names[descriptor], name);
        if (is_new) note(number, 'O', name, inode_of(descriptor), 0, "", 0);
        else if (flags & O_TRUNC) note(0, 'T', name, inode_of(descriptor), 0, "", 0);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return descriptor;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, last); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }
int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }

int close(int descriptor) {
    REAL(int, "close");
    if (name_of_descriptor(descriptor)) names[descriptor][0] = 0;
    return next(descriptor);
}

static ssize_t written(int descriptor, const void *data, size_t length, int64_t offset) {
    const char *name = name_of_descriptor(descriptor);
    if (!name) {
        return offset < 0 ? syscall(SYS_write, descriptor, data, length) : syscall(SYS_pwrite64, descriptor, data, length, offset);
    }
    pthread_mutex_lock(&mutex);
    uint32_t number;
    int is_short;
    ssize_t done = -1;
    struct stat status;
    if (fstat(descriptor, &status)) die("fstat");
    int64_t at = offset >= 0 ? offset : lseek(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    if (!fails(name, &number, &is_short)) {
        if (is_short && length > 1) length /= 2;
        uint64_t end = (uint64_t)at + length, size = (uint64_t)status.st_size;
        if (end > size && !is_acks(name)) {
            uint64_t left = left_without(status.st_ino), most = left > size ? left : size;
            if (end > most) length = most > (uint64_t)at ? most - (uint64_t)at : 0;
        }
        if (!length && end > (uint64_t)at) errno = ENOSPC;
        else done = offset < 0 ? syscall(SYS_write, descriptor, data, length) : syscall(SYS_pwrite64, descriptor, data, length, offset);
        if (done > 0) note(number, 'W', name, status.st_ino, (uint64_t)at, data, (uint64_t)done);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

ssize_t write(int descriptor, const void *data, size_t length) { return written(descriptor, data, length, -1); }
ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) { return written(descriptor, data, length, offset); }
ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) { return written(descriptor, data, length, offset); }
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (!name_of_descriptor(descriptor)) return syscall(SYS_writev, descriptor, parts, count);
    return count > 0 ? written(descriptor, parts[0].iov_base, parts[0].iov_len, -1) : 0;
}

static int set_length(int descriptor, off64_t length) {
    const char *name = name_of_descriptor(descriptor);
    if (!name) return (int)syscall(SYS_ftruncate, descriptor, length);
    pthread_mutex_lock(&mutex);
    uint32_t number;
    int is_short, done = -1;
    if (!fails(name, &number, &is_short)) {
        done = (int)syscall(SYS_ftruncate, descriptor, length);
        if (!done) note(number, 'L', name, inode_of(descriptor), (uint64_t)length, "", 0);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}
int ftruncate(int descriptor, off_t length) { return set_length(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return set_length(descriptor, length); }

/* Syncing is noted, not done: the test is about order, and a real disk would only make it slow. */
static int synced(int descriptor, long call) {
    const char *name = name_of_descriptor(descriptor);
    if (!name) return (int)syscall(call, descriptor);
    pthread_mutex_lock(&mutex);
    uint32_t number;
    int is_short, done = -1;
    if (!fails(name, &number, &is_short)) {
        note(number, strcmp(name, ".") ? 'S' : 'D', name, inode_of(descriptor), 0, "", 0);
        done = 0;
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}
int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }

static int unlinked(int at, const char *path, int flags) {
    const char *name = at == AT_FDCWD || path[0] == '/' ? name_of(path) : 0;
    if (!name || flags) return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&mutex);
    uint32_t number;
    int is_short, done = -1;
    struct stat status;
    if (stat(path, &status)) errno = ENOENT;
    else if (!fails(name, &number, &is_short)) {
        done = (int)syscall(SYS_unlinkat, at, path, 0);
        if (!done) note(number, 'U', name, 0, 0, "", 0);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }

int rename(const char *from, const char *to) {
    const char *old = name_of(from), *new = name_of(to);
    if (!old != !new) die("a rename into or out of the folder");
    if (!old) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&mutex);
    uint32_t number;
    int is_short, done = -1;
    if (!fails(old, &number, &is_short)) {
        done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
        if (!done) note(number, 'R', old, 0, 0, new, strlen(new));
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

/* Ways of changing a file that are not noted. */
#define REFUSE(type, symbol, parameters, descriptor, arguments) \
    type symbol parameters { \
        REAL(type, #symbol); \
        if (name_of_descriptor(descriptor)) die(#symbol " is not noted"); \
        return next arguments; \
    }
REFUSE(ssize_t, pwritev, (int f, const struct iovec *p, int n, off_t o), f, (f, p, n, o))
REFUSE(ssize_t, pwritev64, (int f, const struct iovec *p, int n, off64_t o), f, (f, p, n, o))
REFUSE(int, fallocate, (int f, int m, off_t o, off_t l), f, (f, m, o, l))
REFUSE(int, fallocate64, (int f, int m, off64_t o, off64_t l), f, (f, m, o, l))
REFUSE(int, posix_fallocate, (int f, off_t o, off_t l), f, (f, o, l))
REFUSE(int, posix_fallocate64, (int f, off64_t o, off64_t l), f, (f, o, l))
REFUSE(ssize_t, copy_file_range, (int i, off64_t *a, int f, off64_t *b, size_t l, unsigned int m), f, (i, a, f, b, l, m))
REFUSE(ssize_t, sendfile, (int f, int i, off_t *o, size_t l), f, (f, i, o, l))
REFUSE(ssize_t, sendfile64, (int f, int i, off64_t *o, size_t l), f, (f, i, o, l))

static void *mapped(void *at, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && name_of_descriptor(descriptor)) die("mmap is not noted");
    return (void *)syscall(SYS_mmap, at, length, protection, flags, descriptor, offset);
}
void *mmap(void *a, size_t l, int p, int f, int d, off_t o) { return mapped(a, l, p, f, d, o); }
void *mmap64(void *a, size_t l, int p, int f, int d, off64_t o) { return mapped(a, l, p, f, d, o); }
