/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listener - the listening sockets: which to poll, accepting, pausing.
 *
 * Every worker holds all sockets of all groups and polls those of the slots it
 * has been assigned, plus the shared ones. Owns its copies of the sockets;
 * closing them takes nothing from the master or the other workers.
 */
#ifndef MUSTER_WORKER_LISTENER_H
#define MUSTER_WORKER_LISTENER_H

#include "common/check.h"
#include "common/contract.h"
#include "common/ipc.h"
#include "common/metrics.h"
#include "worker/conn.h"
#include "worker/loop.h"

#include <stdbool.h>

struct listeners;

struct listeners_parts {
    struct loop *loop;
    struct metrics *metrics;
    struct conns *conns;
    unsigned own_slot;       /* shared sockets count for it */
    int64_t max_connections; /* accepting pauses there */
};

MUST_USE struct listeners *listeners_new(const struct listeners_parts *parts);
void listeners_free(struct listeners **listeners);

/* Takes over a socket. One that is there already is kept and `fd` closed; a
 * different one for the same place takes its place. 0, -EPROTO when the place
 * cannot be, -ENOMEM (`fd` is closed either way). */
MUST_USE int listeners_add(struct listeners *listeners, uint32_t group, enum listener_kind kind,
                           uint32_t slot, int fd);
int listeners_count(const struct listeners *listeners);

/* The service manager opened the sockets of this group: passed on to the next master. */
void listeners_set_inherited(struct listeners *listeners, uint32_t group);
/* Takes over a socket of the group that is only kept, for the next master. */
MUST_USE int listeners_keep(struct listeners *listeners, uint32_t group, int fd);

/* What is held of a group, to hand it to a new master: descriptors stay here,
 * -1 where there is none. */
struct listeners_group_view {
    enum listener_kind kind;
    int count; /* sockets, by slot; 0: no such group */
    int kept_fd;
    bool inherited;
};
void listeners_view(const struct listeners *listeners, int group, struct listeners_group_view *out);
int listeners_fd(const struct listeners *listeners, int group, int slot);

/* Polls exactly the sockets of these slots, and the shared ones unless the set
 * is empty. */
void listeners_assign(struct listeners *listeners, const struct slot_set *slots);
const struct slot_set *listeners_assigned(const struct listeners *listeners);

/* A connection was closed: goes on accepting if there was no room before. */
void listeners_room(struct listeners *listeners);
bool listeners_paused(const struct listeners *listeners);

/* Accepts what waits in the assigned sockets, then closes all. False: accepting
 * is paused while connections wait, so nothing was closed; to be called again. */
MUST_USE bool listeners_finish(struct listeners *listeners);

#endif
