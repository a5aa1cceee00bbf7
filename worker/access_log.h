/* SPDX-License-Identifier: BSD-2-Clause
 *
 * access_log - one line per answered request, buffered, never in the way.
 *
 * Lines look like
 *   text: 127.0.0.1 - - [31/Jan/2026:23:59:59 +0000] "GET /x HTTP/1.1" 200 5 0.000123
 *   json: {"time":"2026-01-31T23:59:59.999Z","remote":"127.0.0.1","method":"GET",…}
 * (status, body bytes, seconds). They gather in a buffer that is written when
 * it is half full and at every report. A descriptor that cannot take them
 * without blocking keeps them waiting; when the buffer is full lines are
 * dropped and counted. The log owns its descriptor unless it is borrowed.
 */
#ifndef MUSTER_WORKER_ACCESS_LOG_H
#define MUSTER_WORKER_ACCESS_LOG_H

#include "common/check.h"
#include "common/config.h"
#include "common/slice.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a connection comes from, in 20 bytes. */
struct access_remote {
    unsigned char address[16]; /* IPv4 in the first 4 */
    uint16_t port;
    uint8_t family; /* AF_INET, AF_INET6, AF_UNIX */
};

/* "127.0.0.1", "::1" or "unix:" */
enum { ACCESS_REMOTE_SIZE = INET6_ADDRSTRLEN };
void access_remote_format(const struct access_remote *remote, char out[ACCESS_REMOTE_SIZE]);

struct access_entry {
    struct slice method; /* empty: the request could not be read */
    struct slice target;
    int minor_version;
    int status;
    int64_t body_bytes;
    int64_t duration_ns;
};

enum {
    ACCESS_LOG_BUFFER = 64 * 1024,
    ACCESS_LOG_FLUSH_AT = 32 * 1024,
    ACCESS_LOG_MAX_LINE = 4096,   /* PIPE_BUF: lines of several workers do not mix */
    ACCESS_LOG_MAX_TARGET = 3072, /* of it, for the target, escaped */
};

struct access_log {
    enum access_log_mode mode;
    enum log_format format;
    int sample; /* one line in so many */
    int sample_count;
    int fd; /* -1: lines are dropped */
    bool owns_fd;
    bool is_file; /* takes everything at once and never blocks for long */
    char *buffer; /* NULL while the mode is off */
    size_t len;
    int64_t second; /* of the cached time below */
    char time[32];
    uint64_t *dropped; /* counter of lines */
};

/* 0 or -ENOMEM. `dropped` is counted up for every line lost. */
MUST_USE int access_log_init(struct access_log *log, enum access_log_mode mode,
                             enum log_format format, int sample, uint64_t *dropped);
void access_log_fini(struct access_log *log); /* writes what it can */

/* Takes over `fd` when `owned`; what is buffered goes to the one before. */
void access_log_set_fd(struct access_log *log, int fd, bool owned);

/* Whether the next request is to be logged; counts the sample. */
static inline bool access_log_wants(struct access_log *log)
{
    if (__builtin_expect(log->mode == ACCESS_LOG_OFF, 1))
        return false;
    if (log->mode == ACCESS_LOG_ALL)
        return true;
    if (++log->sample_count < log->sample)
        return false;
    log->sample_count = 0;
    return true;
}

void access_log_add(struct access_log *log, const struct access_remote *remote,
                    const struct access_entry *entry, int64_t wall_ms);
/* Writes what can be written without blocking. */
void access_log_flush(struct access_log *log);

/* Pure: one line, newline included, into `out`. Returns its length. */
size_t access_log_format_line(char out[ACCESS_LOG_MAX_LINE], enum log_format format,
                              const char *time, const char *remote,
                              const struct access_entry *entry);

#endif
