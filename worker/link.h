/* SPDX-License-Identifier: BSD-2-Clause
 *
 * link - the control connection to the master: connecting, connecting again,
 * sending and receiving messages.
 *
 * Knows how messages travel, not what they mean. When the connection breaks it
 * tries again every quarter of a second, give or take a fifth so that the
 * workers do not all come at once.
 */
#ifndef MUSTER_WORKER_LINK_H
#define MUSTER_WORKER_LINK_H

#include "common/buf.h"
#include "common/check.h"
#include "common/ipc.h"
#include "worker/loop.h"

#include <stdbool.h>

struct link;

struct link_callbacks {
    /* Connected: say HELLO. */
    void (*on_connect)(void *context);
    /* Descriptors that are not taken are closed afterwards. */
    void (*on_message)(void *context, struct ipc_message *message);
    /* The connection broke; link tries again unless it is freed. */
    void (*on_disconnect)(void *context, int err);
};

MUST_USE struct link *link_new(struct loop *loop, const char *path,
                               const struct link_callbacks *callbacks, void *context);
void link_free(struct link **link);

/* Connects now; on failure later. 0, or -errno of the first try. */
int link_start(struct link *link);
bool link_is_connected(const struct link *link);

/* A buffer to build the next message in (ipc_begin()). */
struct buf *link_message(struct link *link);
/* Sends what is in that buffer, or queues it. -ENOTCONN, -ENOBUFS, -errno. */
int link_send(struct link *link);
/* The same with descriptors, which stay the caller's. */
int link_send_fds(struct link *link, const int *fds, int fd_count);
/* Whether messages wait because the master does not read. */
bool link_is_backed_up(const struct link *link);
/* Waits at most so long until everything queued has gone out. */
void link_flush(struct link *link, int timeout_ms);

#endif
