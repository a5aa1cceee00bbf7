/* SPDX-License-Identifier: BSD-2-Clause
 *
 * access_log - formatting, buffering and writing of access log lines.
 */
#include "worker/access_log.h"

#include "common/clock.h"
#include "common/utf8.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void access_remote_format(const struct access_remote *remote, char out[ACCESS_REMOTE_SIZE])
{
    if (remote->family == AF_UNIX ||
        inet_ntop(remote->family, remote->address, out, ACCESS_REMOTE_SIZE) == NULL)
        memcpy(out, "unix:", 6);
}

/* ---- one line ---- */

static const char hex[] = "0123456789abcdef";

/* One character of `text` at `at` into `out` (6 bytes), escaped where it could end a field, a
 * line or a terminal's patience. Returns how many bytes were written and sets `taken`. */
static size_t escape_one(char *out, bool json, struct slice text, size_t at, size_t *taken)
{
    unsigned char c = (unsigned char)text.ptr[at];
    bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
    size_t run = json ? utf8_length(text.ptr + at, text.len - at) : 1;
    *taken = 1;
    if (plain || (json && run > 1)) {
        memcpy(out, text.ptr + at, run);
        *taken = run;
        return run;
    }
    size_t len = json ? 4 : 2;
    memcpy(out, json ? "\\u00" : "\\x", len);
    out[len] = hex[c >> 4];
    out[len + 1] = hex[c & 15];
    return len + 2;
}

/* At most `max` bytes, a mark when something was left out, and a NUL. */
static void escape(char *out, size_t max, bool json, struct slice text)
{
    size_t len = 0;
    for (size_t at = 0, taken; at < text.len; at += taken) {
        char piece[8];
        size_t run = escape_one(piece, json, text, at, &taken);
        if (len + run > max - 3) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
        memcpy(out + len, piece, run);
        len += run;
    }
    out[len] = '\0';
}

size_t access_log_format_line(char out[ACCESS_LOG_MAX_LINE], enum log_format format,
                              const char *time, const char *remote,
                              const struct access_entry *entry)
{
    char target[ACCESS_LOG_MAX_TARGET + 1];
    char method[64 + 1];
    bool json = format == LOG_FORMAT_JSON;
    escape(target, ACCESS_LOG_MAX_TARGET, json, entry->target);
    escape(method, 64, json, entry->method);

    double seconds = (double)entry->duration_ns / 1e9;
    int len;
    if (json)
        len = snprintf(out, ACCESS_LOG_MAX_LINE,
                       "{\"time\":\"%s\",\"remote\":\"%s\",\"method\":\"%s\",\"target\":\"%s\","
                       "\"status\":%d,\"bytes\":%lld,\"duration\":%.6f}\n",
                       time, remote, method, target, entry->status, (long long)entry->body_bytes,
                       seconds);
    else if (entry->method.len == 0)
        len = snprintf(out, ACCESS_LOG_MAX_LINE, "%s - - [%s] \"-\" %d %lld %.6f\n", remote, time,
                       entry->status, (long long)entry->body_bytes, seconds);
    else
        len = snprintf(out, ACCESS_LOG_MAX_LINE, "%s - - [%s] \"%s %s HTTP/1.%d\" %d %lld %.6f\n",
                       remote, time, method, target, entry->minor_version, entry->status,
                       (long long)entry->body_bytes, seconds);
    return (size_t)len;
}

/* ---- the buffer ---- */

int access_log_init(struct access_log *log, enum access_log_mode mode, enum log_format format,
                    int sample, uint64_t *dropped)
{
    *log = (struct access_log){
        .mode = mode,
        .format = format,
        .sample = sample,
        .fd = -1,
        .second = -1,
        .dropped = dropped,
    };
    if (mode == ACCESS_LOG_OFF)
        return 0;
    log->buffer = malloc(ACCESS_LOG_BUFFER);
    return log->buffer != NULL ? 0 : -ENOMEM;
}

void access_log_fini(struct access_log *log)
{
    if (log->buffer != NULL)
        access_log_flush(log);
    free(log->buffer);
    log->buffer = NULL;
    log->mode = ACCESS_LOG_OFF;
    if (log->owns_fd && log->fd >= 0)
        (void)close(log->fd);
    log->fd = -1;
}

void access_log_set_fd(struct access_log *log, int fd, bool owned)
{
    access_log_flush(log);
    if (log->owns_fd && log->fd >= 0)
        (void)close(log->fd);
    struct stat st;
    log->fd = fd;
    log->owns_fd = owned;
    log->is_file = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *line_time(struct access_log *log, int64_t wall_ms)
{
    if (log->format == LOG_FORMAT_JSON) {
        clock_format_rfc3339(wall_ms, log->time);
    } else if (log->second != wall_ms / 1000) {
        time_t seconds = (time_t)(wall_ms / 1000);
        struct tm tm;
        log->second = wall_ms / 1000;
        if (gmtime_r(&seconds, &tm) == NULL ||
            strftime(log->time, sizeof(log->time), "%d/%b/%Y:%H:%M:%S +0000", &tm) == 0)
            memcpy(log->time, "-", 2);
    }
    return log->time;
}

void access_log_add(struct access_log *log, const struct access_remote *remote,
                    const struct access_entry *entry, int64_t wall_ms)
{
    if (log->buffer == NULL)
        return;
    if (ACCESS_LOG_BUFFER - log->len < ACCESS_LOG_MAX_LINE)
        access_log_flush(log);
    if (ACCESS_LOG_BUFFER - log->len < ACCESS_LOG_MAX_LINE) {
        (*log->dropped)++;
        return;
    }
    char from[ACCESS_REMOTE_SIZE];
    access_remote_format(remote, from);
    log->len += access_log_format_line(log->buffer + log->len, log->format, line_time(log, wall_ms),
                                       from, entry);
    if (log->len >= ACCESS_LOG_FLUSH_AT)
        access_log_flush(log);
}

/* How much of the buffer to write at once: everything to a file; to anything else whole lines
 * that fit into PIPE_BUF, which a pipe that polls writable takes without blocking and does not
 * mix with what other workers write. */
static size_t piece_len(const struct access_log *log, size_t from)
{
    size_t left = log->len - from;
    if (log->is_file || left <= PIPE_BUF)
        return left;
    const char *end = memrchr(log->buffer + from, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end - (log->buffer + from)) + 1 : PIPE_BUF;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += bytes[i] == '\n';
    return count;
}

/* Whether a write now returns at once. */
static bool can_take(const struct access_log *log)
{
    struct pollfd poll_fd = {.fd = log->fd, .events = POLLOUT};
    return log->is_file || (poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0);
}

void access_log_flush(struct access_log *log)
{
    size_t done = 0;
    while (done < log->len) {
        size_t piece = piece_len(log, done);
        ssize_t wrote = -1;
        if (log->fd >= 0) {
            if (!can_take(log))
                break;
            wrote = write(log->fd, log->buffer + done, piece);
            if (wrote < 0 && errno == EINTR)
                continue;
            if (wrote < 0 && errno == EAGAIN)
                break;
        }
        if (wrote <= 0) { /* nowhere to write to, or the disk is full: it would not help to wait */
            *log->dropped += count_lines(log->buffer + done, piece);
            wrote = (ssize_t)piece;
        }
        done += (size_t)wrote;
    }
    if (done == 0)
        return;
    log->len -= done;
    memmove(log->buffer, log->buffer + done, log->len);
}
