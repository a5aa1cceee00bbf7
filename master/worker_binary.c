/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_binary - the file that the workers of one generation execute.
 */
#include "master/worker_binary.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void worker_binary_init(struct worker_binary *binary)
{
    *binary = (struct worker_binary){.fd = -1};
}

void worker_binary_close(struct worker_binary *binary)
{
    if (binary->fd >= 0)
        (void)close(binary->fd);
    worker_binary_init(binary);
}

bool worker_binary_is_pinned(const struct worker_binary *binary)
{
    return binary->fd >= 0;
}

const char *worker_binary_exec_path(const struct worker_binary *binary,
                                    char buffer[WORKER_BINARY_EXEC_SIZE])
{
    if (binary->fd < 0)
        return binary->path;
    (void)snprintf(buffer, WORKER_BINARY_EXEC_SIZE, "/proc/self/fd/%d", binary->fd);
    return buffer;
}

/* Only what the kernel loads itself; a script needs its path. */
static bool is_program(const struct worker_binary *binary)
{
    char buffer[WORKER_BINARY_EXEC_SIZE], magic[4];
    int fd = open(worker_binary_exec_path(binary, buffer), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false; /* no /proc, or not readable */
    bool elf = pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
               memcmp(magic, "\177ELF", 4) == 0;
    (void)close(fd);
    return elf;
}

static void remember(const struct stat *st, struct worker_binary *binary)
{
    binary->device = st->st_dev;
    binary->inode = st->st_ino;
    binary->size = st->st_size;
    binary->changed = st->st_mtim;
    binary->known = true;
}

int worker_binary_open(const char *path, struct worker_binary *out)
{
    struct stat st;
    (void)snprintf(out->path, sizeof(out->path), "%s", path);
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fd <= STDERR_FILENO) { /* these three mean something else in a worker */
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        int err = errno;
        (void)close(fd);
        if (moved < 0)
            return -err;
        fd = moved;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || access(path, X_OK) != 0) {
        (void)close(fd);
        return -EACCES;
    }
    remember(&st, out);
    out->fd = fd;
    if (!is_program(out)) {
        (void)close(fd);
        out->fd = -1;
    }
    return 0;
}

static bool has_name(const char *link, size_t len, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t name_len = strlen(name);
    return len > name_len && link[len - name_len - 1] == '/' &&
           memcmp(link + len - name_len, name, name_len) == 0;
}

/* Whether /proc/PID/exe is a program of this name, and not an interpreter. Its
 * directory may be another: that of the version before. A file that was
 * replaced or removed is marked there. */
static bool is_executed_as(const char *link, const char *path)
{
    static const char deleted[] = " (deleted)";
    char resolved[PATH_MAX];
    size_t len = strlen(link);
    if (len > sizeof(deleted) - 1 && strcmp(link + len - (sizeof(deleted) - 1), deleted) == 0)
        len -= sizeof(deleted) - 1;
    return has_name(link, len, path) ||
           (realpath(path, resolved) != NULL && has_name(link, len, resolved));
}

int worker_binary_adopt(struct worker_binary *binary, pid_t pid)
{
    char exe[32], link[WORKER_BINARY_PATH_SIZE];
    struct stat st;
    (void)snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)pid);
    ssize_t len = readlink(exe, link, sizeof(link) - 1);
    if (len < 0)
        return -errno;
    link[len] = '\0';
    if (!is_executed_as(link, binary->path))
        return -ENOENT;
    int fd = open(exe, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fd <= STDERR_FILENO || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return -EBADF;
    }
    if (binary->fd >= 0)
        (void)close(binary->fd);
    binary->fd = fd;
    remember(&st, binary);
    worker_binary_look(binary);
    return 0;
}

static bool is_same_file(const struct worker_binary *binary, const struct stat *st)
{
    return binary->known && st->st_dev == binary->device && st->st_ino == binary->inode &&
           st->st_size == binary->size && st->st_mtim.tv_sec == binary->changed.tv_sec &&
           st->st_mtim.tv_nsec == binary->changed.tv_nsec;
}

void worker_binary_look(struct worker_binary *binary)
{
    struct stat st;
    /* A file that is gone would be missed by the next generation: that is a change, too. */
    binary->changed_on_disk = stat(binary->path, &st) != 0 || !is_same_file(binary, &st);
}

bool worker_binary_same(const struct worker_binary *a, const struct worker_binary *b)
{
    return a->known && b->known && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}
