/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fd_store - the listening sockets, kept by the service manager as well
 * (FileDescriptorStoreMax= in systemd.service(5)).
 *
 * As long as one process of the cluster lives it has the sockets. When all of
 * them die at once, the copies in the store keep the port open and what waits
 * in the queues waiting, and the next start is handed them in LISTEN_FDS.
 *
 * A socket is stored under the name of its slot; its address says which group
 * it belongs to. Sockets of the service manager itself are not stored. Without
 * a service manager every call does nothing. Borrows all descriptors.
 */
#ifndef MUSTER_FD_STORE_H
#define MUSTER_FD_STORE_H

#include "master/listeners.h"

/* Whether a descriptor with this name (LISTEN_FDNAMES) is from the store; then
 * `out` is its slot or FOUND_STOPPER. */
bool fd_store_parse_name(const char *name, int *out);

/* Adds one that was handed over to those that were found. Takes the descriptor
 * in any case. 0 or -errno. */
MUST_USE int fd_store_collect(struct found_sockets *found, int fd, int slot);

/* Whether every group that was found has the socket that it begins with. */
bool fd_store_is_complete(const struct found_sockets *found);

/* Has the sockets of all groups kept; in the order of the kernel's group, so that the place of
 * those that find room does not change when the others close. */
void fd_store_save(const struct listeners *listeners);

/* Has what is stored closed, the stopper last. `wait`: returns when that is done. */
void fd_store_forget(int slot_count, bool wait);

#endif
