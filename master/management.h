/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management - the HTTP server of the management port and the Unix socket.
 *
 * libmicrohttpd driven by the master's libevent loop: no threads, no blocking.
 * Reading is free on loopback; every change needs the token or the Unix socket.
 * Owns its sockets and connections; borrows the cluster and the master.
 */
#ifndef MUSTER_MANAGEMENT_H
#define MUSTER_MANAGEMENT_H

#include "common/check.h"
#include "master/cluster.h"

struct event_base;
struct management;
struct master;

/* Binds config.management_address:port (unless empty or disabled) and
 * run_dir/muster.sock (mode 0600). NULL on failure, with the reason in
 * `error` (what could not be bound, and who holds it where that is known). */
MUST_USE struct management *management_new(struct event_base *base, const struct cluster *cluster,
                                           struct master *master, char *error, size_t error_size);
/* Takes over token, allowed hosts and limits after a reload; addresses stay. */
void management_reconfigure(struct management *management, const struct config *config);
/* A copy of the connection of the client that waits for this command (the
 * context of its on_done), for the program that will answer it; -1: nobody waits. */
int management_keep_client(const void *context);
/* Lets answers under way go out for a moment, then closes everything. */
void management_free(struct management **management);

#endif
