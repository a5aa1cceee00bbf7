/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners - the public listening sockets: opening, steering, closing.
 *
 * A group is one address; per slot it has one SO_REUSEPORT socket. Its index in
 * the kernel's group follows from the slot, because the sockets start to listen
 * in that order and none is ever closed before the whole group. Unix sockets,
 * and sockets of the service manager that cannot be joined, are groups of one
 * shared socket. Owns its descriptors.
 *
 * In front of its slots a group has a stopper: a socket that is never accepted
 * from. At the end its queue is filled with one connection of ours and all new
 * connections are steered to it; the kernel ignores the SYN of a connection to
 * a full queue, so no connection begins that nobody would serve, while
 * handshakes under way complete where they began. Needs no privilege. The
 * stopper has index 0, which is the one index that closing others does not
 * move, and it is closed last.
 */
#ifndef MUSTER_LISTENERS_H
#define MUSTER_LISTENERS_H

#include "common/check.h"
#include "common/config.h"
#include "master/cluster.h"
#include "master/dispatch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct listener_group {
    char name[64];
    char address[CLUSTER_ADDRESS_SIZE];
    enum listener_kind kind;
    bool inherited;
    bool adopted;    /* from workers of a master before this one */
    bool configured; /* a listen section names it */
    bool dual_stack; /* an IPv6 socket that takes IPv4, too */
    bool fell_back;  /* the kernel refused the algorithm that was asked for */
    sa_family_t family;
    int first_index;     /* of slot 0 in the kernel's group: 1 behind a stopper, else 0 */
    int stopper_fd;      /* -1: none */
    int filler_fd;       /* our connection in the stopper's queue, -1: none */
    char unix_path[108]; /* to unlink at the end; "" for TCP */
    int fd_count;        /* slots, or 1 when shared */
    int *fds;            /* in slot order */
};

struct listeners {
    struct listener_group group[CONTRACT_MAX_GROUPS];
    int group_count;
    int stored; /* how many of the sockets came from the service manager's store */
};

/* Listening sockets that outlived a master: in the workers, or in the service
 * manager's store. Owns the descriptors. */
struct found_socket {
    uint32_t group; /* as the master before numbered them */
    enum listener_kind kind;
    int slot; /* FOUND_STOPPER: not a slot's */
    bool inherited;
    int fd;
};
enum { FOUND_STOPPER = -1 };

struct found_sockets {
    struct found_socket *items;
    int count;
};

/* A number for which sockets they are and whose slots' they are, the same in every process and
 * for both; 0: not known. */
uint64_t found_sockets_id(const struct found_sockets *found);
uint64_t listeners_id(const struct listeners *listeners);

/* Takes the descriptor in any case. 0, -ENOMEM, -EPROTO when there cannot be such a one. */
MUST_USE int found_sockets_add(struct found_sockets *found, const struct found_socket *socket);
void found_sockets_fini(struct found_sockets *found);

/* Opens every configured address with `slot_count` sockets each, taking over
 * what was found (NULL: nothing) and what the service manager handed us
 * (LISTEN_FDS). What was found and is not configured any more stays open: it
 * may have clients. 0, or -errno with the reason in `error`; everything is
 * closed then. */
MUST_USE int listeners_open(struct listeners *listeners, const struct config *config,
                            int slot_count, uid_t unix_owner, struct found_sockets *found,
                            char *error, size_t error_size);

/* The kernel chooses like this from now on. A group whose program the kernel
 * refuses (its memory for one is limited) spreads evenly over the same slots.
 * 0 or -errno of the first group that refused that, too. */
MUST_USE int listeners_steer(struct listeners *listeners, const struct dispatch_choice *choice);

/* New connections are ignored from now on, handshakes under way complete;
 * Unix sockets lose their name. `steered` is the set of listeners_steer(). */
void listeners_refuse_new(struct listeners *listeners, const struct slot_set *steered,
                          int slot_count);

/* Closes our copies. New connections are refused once nobody else has one: the
 * workers must have closed theirs before. */
void listeners_close(struct listeners *listeners);
/* Unix sockets that were taken over keep their names then: this master cannot
 * start, and the workers serve on. */
void listeners_leave_names(struct listeners *listeners);

/* A descriptor that holds copies of all of them for the next program of this
 * process, or -errno. */
MUST_USE int listeners_pass(const struct listeners *listeners);
/* What it holds. 0 or -errno; `from` stays the caller's. */
MUST_USE int listeners_take_passed(int from, struct found_sockets *out);

/* Connections that wait to be accepted in a group, -1 if not known (Unix). */
int64_t listeners_queue(const struct listener_group *group);

#endif
