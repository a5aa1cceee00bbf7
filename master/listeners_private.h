/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners_private - what the files of listeners.c share. Nobody else includes it.
 *
 *   listeners.c        steering, refusing, closing
 *   listeners_open.c   opening
 *   listeners_adopt.c  taking over the sockets of a master that is gone
 */
#ifndef MUSTER_LISTENERS_PRIVATE_H
#define MUSTER_LISTENERS_PRIVATE_H

#include "master/dispatch.h"
#include "master/listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The time to live of our own connection to a stopper, which overlooks all
 * that say less. */
enum { LISTENERS_OWN_TTL = 255 };

/* One address to listen on. */
struct endpoint {
    const struct config_listen *listen;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } address;
    socklen_t address_size;
    bool optional; /* the IPv6 half of "*": a machine may have no IPv6 */
};

void endpoint_describe(const struct sockaddr *address, char *out, size_t size);
bool endpoint_same_address(const struct endpoint *a, const struct endpoint *b);

int listeners_set_flag(int fd, int level, int option, int value);
int listeners_get_flag(int fd, int level, int option); /* 0 also when it cannot be had */

/* An empty group; NULL: too many, or no memory. */
struct listener_group *listeners_add_group(struct listeners *listeners,
                                           const struct endpoint *endpoint, int fd_count);
/* Adds sockets for the slots that have none. 0 or -errno. */
MUST_USE int listeners_fill_group(struct listener_group *group, const struct endpoint *endpoint,
                                  int slot_count, int backlog);
void listeners_discard_early(const struct listener_group *group);
MUST_USE int listeners_attach(int fd, const struct dispatch_program *program);

/* Groups from sockets that were found. 0 or -errno with the reason; takes the
 * descriptors of `found` either way. */
MUST_USE int listeners_adopt(struct listeners *listeners, struct found_sockets *found,
                             int slot_count, char *error, size_t error_size);

#endif
