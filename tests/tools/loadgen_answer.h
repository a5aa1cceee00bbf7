/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loadgen_answer - reading one HTTP/1.1 answer, for the load client.
 *
 * Pure and incremental, and deliberately small: it trusts the server under
 * test no further than it must to count exactly. Bodies have a Content-Length
 * or end with the connection; chunked answers are called bad.
 */
#ifndef MUSTER_LOADGEN_ANSWER_H
#define MUSTER_LOADGEN_ANSWER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ANSWER_HEAD_MAX = 2048 };

enum answer_progress { ANSWER_MORE, ANSWER_DONE, ANSWER_BAD };

struct answer {
    int status;
    bool head_done;
    bool close;     /* the server said that it will close */
    bool until_eof; /* no length: the end of the connection is the end of the body */
    int64_t body_left;
    int64_t body_bytes;
    bool body_differs; /* from the expected one, so far as it came */
    int worker_pid;    /* from Muster-Worker, 0: not said */
    int worker_slot;
    unsigned head_len; /* bytes of an incomplete head in `head` */
    char head[ANSWER_HEAD_MAX];
};

static inline void answer_begin(struct answer *answer)
{
    answer->status = 0;
    answer->head_done = false;
    answer->close = false;
    answer->until_eof = false;
    answer->body_left = 0;
    answer->body_bytes = 0;
    answer->body_differs = false;
    answer->head_len = 0;
}

/* Whether any byte of this answer has come. */
static inline bool answer_begun(const struct answer *answer)
{
    return answer->head_done || answer->head_len > 0;
}

static inline bool answer_header_is(const char *line, size_t len, const char *name, size_t name_len,
                                    const char **value)
{
    if (len < name_len || strncasecmp(line, name, name_len) != 0)
        return false;
    const char *at = line + name_len;
    while (at < line + len && (*at == ' ' || *at == '\t'))
        at++;
    *value = at;
    return true;
}

/* One header line; it ends in CR LF, which stops every conversion below. */
static inline bool answer_read_header(struct answer *answer, const char *line, size_t len,
                                      bool track_worker)
{
    const char *value;
    switch (line[0] | 0x20) {
    case 'c':
        if (answer_header_is(line, len, "content-length:", 15, &value)) {
            char *end;
            long long length = strtoll(value, &end, 10);
            if (end == value || length < 0)
                return false;
            answer->body_left = length;
            answer->until_eof = false;
        } else if (answer_header_is(line, len, "connection:", 11, &value)) {
            answer->close = strncasecmp(value, "close", 5) == 0;
        }
        return true;
    case 't':
        return !answer_header_is(line, len, "transfer-encoding:", 18, &value);
    case 'm':
        if (track_worker && answer_header_is(line, len, "muster-worker:", 14, &value) &&
            strncmp(value, "slot=", 5) == 0) {
            char *end;
            answer->worker_slot = (int)strtol(value + 5, &end, 10);
            if (strncmp(end, " pid=", 5) == 0)
                answer->worker_pid = (int)strtol(end + 5, NULL, 10);
        }
        return true;
    default:
        return true;
    }
}

/* `head` holds the status line and headers up to and with the last CR LF CR LF. */
static inline bool answer_read_head(struct answer *answer, const char *head, size_t len,
                                    bool track_worker)
{
    if (len < 16 || memcmp(head, "HTTP/1.", 7) != 0 || head[8] != ' ')
        return false;
    for (int i = 9; i < 12; i++) {
        if (head[i] < '0' || head[i] > '9')
            return false;
    }
    answer->status = (head[9] - '0') * 100 + (head[10] - '0') * 10 + (head[11] - '0');
    answer->until_eof = true;
    answer->close = head[7] == '0';
    const char *end = head + len - 2;
    const char *line = memchr(head, '\n', len);
    if (line == NULL)
        return false;
    line++;
    while (line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            break;
        if (!answer_read_header(answer, line, (size_t)(next - line), track_worker))
            return false;
        line = next + 1;
    }
    if (answer->status < 200 || answer->status == 204 || answer->status == 304) {
        answer->body_left = 0;
        answer->until_eof = false;
    }
    answer->head_done = true;
    return true;
}

/* What every body is to be; data is NULL when it does not matter. */
struct answer_expected {
    const char *data;
    size_t len;
};

static inline void answer_compare_body(struct answer *answer, const char *data, size_t len,
                                       const struct answer_expected *expected)
{
    size_t at = (size_t)answer->body_bytes;
    if (expected->data != NULL && len > 0 &&
        (at + len > expected->len || memcmp(expected->data + at, data, len) != 0))
        answer->body_differs = true;
}

/* Takes bytes; *used says how many belonged to this answer. */
static inline enum answer_progress answer_feed(struct answer *answer, const char *data, size_t len,
                                               bool track_worker,
                                               const struct answer_expected *expected, size_t *used)
{
    size_t at = 0;
    while (!answer->head_done) {
        const char *head = data + at;
        size_t head_len = len - at;
        size_t before = answer->head_len;
        if (before > 0) {
            /* The head came in pieces: join them. */
            if (head_len > ANSWER_HEAD_MAX - before)
                head_len = ANSWER_HEAD_MAX - before;
            memcpy(answer->head + before, data + at, head_len);
            head = answer->head;
            head_len += before;
        }
        const char *end = memmem(head, head_len, "\r\n\r\n", 4);
        if (end == NULL) {
            if (head_len >= ANSWER_HEAD_MAX)
                return ANSWER_BAD;
            if (before == 0)
                memcpy(answer->head, head, head_len);
            answer->head_len = (unsigned)head_len;
            *used = len;
            return ANSWER_MORE;
        }
        size_t whole = (size_t)(end - head) + 4;
        if (!answer_read_head(answer, head, whole, track_worker))
            return ANSWER_BAD;
        at += whole - before;
        if (answer->status < 200)
            answer_begin(answer); /* 100 Continue and its like: the answer is still to come */
        if (at == len && !answer->head_done) {
            *used = len;
            return ANSWER_MORE;
        }
    }
    int64_t rest = (int64_t)(len - at);
    if (!answer->until_eof && rest > answer->body_left)
        rest = answer->body_left;
    answer_compare_body(answer, data + at, (size_t)rest, expected);
    answer->body_bytes += rest;
    *used = at + (size_t)rest;
    if (answer->until_eof)
        return ANSWER_MORE;
    answer->body_left -= rest;
    return answer->body_left == 0 ? ANSWER_DONE : ANSWER_MORE;
}

#endif
