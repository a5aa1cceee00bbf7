/* SPDX-License-Identifier: BSD-2-Clause
 *
 * documents - what the master says about the whole cluster, as this worker
 * last heard it.
 *
 * One document per (view, format). Whoever asks gets the last answer while it
 * is fresh; else the master is asked, once for all who wait. When it does not
 * answer in time they get the last answer, marked stale, or nothing.
 * Knows neither sockets nor the loop: it is told the time and is given a way
 * to ask and a way to be called back.
 */
#ifndef MUSTER_WORKER_DOCUMENTS_H
#define MUSTER_WORKER_DOCUMENTS_H

#include "common/check.h"
#include "common/contract.h"
#include "worker/blob.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    DOCUMENTS_FRESH_MS = 200,    /* how long an answer is used again */
    DOCUMENTS_PATIENCE_MS = 500, /* how long the master may take */
    DOCUMENTS_TYPE_SIZE = 128,
};

struct document {
    int status;
    char type[DOCUMENTS_TYPE_SIZE];
    struct blob *body;
};

/* Embedded by who waits. `document` is borrowed until the call returns; NULL:
 * there is none. */
TAILQ_HEAD(document_waiters, document_waiter);
struct document_waiter {
    TAILQ_ENTRY(document_waiter) link;
    struct document_waiters *queue; /* NULL: does not wait */
    uint32_t question;
    void (*on_document)(struct document_waiter *waiter, const struct document *document,
                        bool stale);
};

struct documents_hooks {
    /* Asks the master. 0, or -errno when it cannot be reached. */
    int (*ask)(void *context, uint32_t id, enum view view, enum view_format format);
    /* Calls documents_expire() at this monotonic time. */
    void (*wake_at)(void *context, int64_t at_ns);
    void *context;
};

struct documents;

MUST_USE struct documents *documents_new(const struct documents_hooks *hooks);
void documents_free(struct documents **documents); /* nobody may wait */

/* True: *out is fresh, or the best there is (*stale), or NULL. False: `waiter`
 * is called later, unless it leaves first. */
bool documents_get(struct documents *documents, enum view view, enum view_format format,
                   int64_t now_ns, struct document_waiter *waiter, const struct document **out,
                   bool *stale);
void documents_leave(struct documents *documents, struct document_waiter *waiter);

/* The master has answered; an id that nobody waits for is ignored. */
void documents_reply(struct documents *documents, uint32_t id, int status, const char *type,
                     struct slice body, int64_t now_ns);
/* Those who have waited long enough get what there is. */
void documents_expire(struct documents *documents, int64_t now_ns);
/* The master is gone: nobody need wait for it. */
void documents_give_up(struct documents *documents);
/* The state of the cluster has changed: what was said before is not fresh.
 * With `forget`, health documents from before are not even shown as stale. */
void documents_invalidate(struct documents *documents, bool forget);

#endif
