/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control - the master's end of the control socket (common/contract.h).
 *
 * Accepts connections, lets in who is a worker, reads messages and hands them
 * on. Whatever a peer sends can end that peer's connection and nothing else.
 * Owns the listening socket and the peers; a peer is given to at most one
 * worker, which borrows it until on_disconnect.
 */
#ifndef MUSTER_CONTROL_H
#define MUSTER_CONTROL_H

#include "common/check.h"
#include "common/ipc.h"
#include "master/listeners.h"
#include "master/roster.h"

#include <stdint.h>
#include <sys/types.h>

struct control;
struct peer;
struct event_base;

struct control_hello {
    pid_t pid; /* as the kernel says */
    uid_t uid;
    uint32_t slot;
    uint64_t generation;
    uint32_t contract;
    uint32_t phase; /* enum worker_phase */
    uint64_t epoch;
    struct slot_set slots; /* what it polls now */
    uint32_t timeout_ms;   /* draining: until it cuts what remains; UINT32_MAX: not said */
    char build[ROSTER_BUILD_SIZE];
};

struct control_callbacks {
    /* The worker that says this, or NULL with the reason to tell it. The
     * caller sets worker->peer; messages follow from now on. */
    struct worker *(*on_hello)(void *context, const struct control_hello *hello, struct peer *peer,
                               char *reason, size_t reason_size);
    void (*on_welcome)(void *context, struct worker *worker); /* send it what it needs */
    void (*on_ready)(void *context, struct worker *worker);
    void (*on_assigned)(void *context, struct worker *worker, uint64_t epoch,
                        const struct slot_set *slots, bool closed);
    /* `phase` is an enum worker_phase. 0, or -EPROTO when the snapshot is not to be believed. */
    int (*on_metrics)(void *context, struct worker *worker, uint32_t phase, struct slice snapshot);
    void (*on_query)(void *context, struct worker *worker, uint32_t id, uint32_t view,
                     uint32_t format);
    /* Listening sockets, as far as it has come; `socket.fd` is the receiver's,
     * -1 in the last one. */
    void (*on_socket)(void *context, struct worker *worker, const struct found_socket *socket);
    void (*on_goodbye)(void *context, struct worker *worker);
    /* The connection is gone; `why` is NULL at end of file, else what was
     * wrong with what the worker sent. */
    void (*on_disconnect)(void *context, struct worker *worker, const char *why);
};

/* 0 or -errno. `owner` may connect besides root and this user. */
MUST_USE int control_new(struct event_base *base, const char *path, uid_t owner, int slot_count,
                         const struct control_callbacks *callbacks, void *context,
                         struct control **out);
/* Listens anew when somebody has removed the socket's name: no worker could start any more. 1 then,
 * 0 when it is there, or -errno. */
MUST_USE int control_restore(struct control *control);
void control_free(struct control **control);

/* How many connections were closed for what they sent, or who they were. */
uint64_t control_rejected(const struct control *control);

/* Sends or queues. An error closes the peer (on_disconnect is called later,
 * from the loop). */
void peer_send(struct peer *peer, const struct buf *message, const int *fds, int fd_count);
/* Reads what is there, as far as it goes; used when its process has died. */
void peer_drain(struct peer *peer);
/* Closes without on_disconnect. */
void peer_close(struct peer *peer);

#endif
