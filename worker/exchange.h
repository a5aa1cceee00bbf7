/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exchange - requests and their answers on one connection, as handlers see it.
 *
 * A handler is called with a request that has been received whole and answers
 * it exactly once: now, with one of the answer functions, or later, after
 * exchange_suspend(). An answer is rendered into the worker's output buffer and
 * leaves when the connection has nothing more to process.
 */
#ifndef MUSTER_WORKER_EXCHANGE_H
#define MUSTER_WORKER_EXCHANGE_H

#include "common/slice.h"
#include "worker/blob.h"
#include "worker/response.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct conn;

enum { EXCHANGE_INLINE_BODY = 16 * 1024 }; /* larger bodies are not copied */

struct reply {
    int status;
    struct slice type;    /* Content-Type */
    struct slice headers; /* more header lines with their CRLF, at most 4 KB */

    /* The body: one of these, or none. */
    struct slice body; /* at most EXCHANGE_INLINE_BODY, copied */
    struct blob *blob; /* the reply's reference is taken over */
    bool is_file;      /* `length` bytes from `offset`; the descriptor is taken over */
    int file;
    off_t offset;
    int64_t length;

    bool close; /* the connection cannot go on after this answer */
};

void exchange_answer(struct conn *conn, const struct reply *reply);

/* The page must live as long as the connections do. */
void exchange_answer_page(struct conn *conn, struct response_page *page);

/* A short body that says what was wrong, as JSON where the client or the
 * route prefers that. `message` and `headers` are copied. */
void exchange_answer_error(struct conn *conn, int status, const char *message,
                           struct slice headers);

/* ---- answering later ---- */

/* Embedded in what a handler keeps while it waits. */
struct exchange_wait {
    struct conn *conn;
    /* The connection has gone: forget it and free what was kept. */
    void (*on_cancel)(struct exchange_wait *wait);
};

/* Nothing more is read from the connection until exchange_resume(). */
void exchange_suspend(struct conn *conn, struct exchange_wait *wait);
/* Answers and goes on with what the client has sent meanwhile. `wait` is the
 * caller's again; the connection may be gone when this returns. */
void exchange_resume(struct exchange_wait *wait, const struct reply *reply);

#endif
