/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_binary - the file that the workers of one generation execute.
 *
 * It is opened when the generation begins, and every worker of that generation
 * executes that open file: a file put in its place meanwhile is not started by
 * accident, be it a crash that asks for a restart or a reload that was taken
 * back. Only a new generation picks it up.
 *
 * Scripts cannot be executed that way (their interpreter would be told a
 * descriptor that is closed by then), nor anything where /proc is not mounted;
 * these are executed by path.
 */
#ifndef MUSTER_WORKER_BINARY_H
#define MUSTER_WORKER_BINARY_H

#include "common/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum { WORKER_BINARY_PATH_SIZE = 4096, WORKER_BINARY_EXEC_SIZE = 32 };

struct worker_binary {
    char path[WORKER_BINARY_PATH_SIZE];
    int fd; /* O_PATH; -1: executed by path */
    /* What was there when it was opened. */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    bool known;           /* there was a file */
    bool changed_on_disk; /* as worker_binary_look() found it */
};

/* An empty one; worker_binary_close() takes it. */
void worker_binary_init(struct worker_binary *binary);
/* 0, or -errno when there is no file that could be executed (`out` then has
 * the path and is executed by it, should somebody try). `out` must be empty. */
MUST_USE int worker_binary_open(const char *path, struct worker_binary *out);
void worker_binary_close(struct worker_binary *binary);
/* For a master that takes over living workers: the file that process `pid`
 * executes takes the place of the one that is on disk by now, if it was
 * executed under this path. 0 or -errno: `binary` is as it was. */
MUST_USE int worker_binary_adopt(struct worker_binary *binary, pid_t pid);

/* Whether every worker gets this very file. */
bool worker_binary_is_pinned(const struct worker_binary *binary);
/* What to give to posix_spawn(3): the path itself, or one in `buffer`. */
const char *worker_binary_exec_path(const struct worker_binary *binary,
                                    char buffer[WORKER_BINARY_EXEC_SIZE]);

/* Looks at the disk: is there another file, or another content, by now? */
void worker_binary_look(struct worker_binary *binary);
/* Whether both are the same file with the same content. */
bool worker_binary_same(const struct worker_binary *a, const struct worker_binary *b);

#endif
