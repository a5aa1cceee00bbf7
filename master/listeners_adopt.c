/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners_adopt - listening sockets that outlived a master become groups again.
 *
 * The place of a socket in the kernel's group is where it was when the first
 * master opened it, for nothing was closed in between: the stopper is index 0,
 * slots follow. Groups keep the number that the workers know them by.
 */
#include "master/listeners_private.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int found_sockets_add(struct found_sockets *found, const struct found_socket *socket)
{
    enum { MOST = CONTRACT_MAX_GROUPS * (CONTRACT_MAX_SLOTS + 1) };
    struct found_socket *grown = NULL;
    int err = 0;
    if (socket->group >= CONTRACT_MAX_GROUPS || socket->slot < FOUND_STOPPER ||
        socket->slot >= CONTRACT_MAX_SLOTS ||
        (socket->kind != LISTENER_PER_SLOT && socket->kind != LISTENER_SHARED) ||
        found->count >= MOST)
        err = -EPROTO;
    else
        grown = realloc(found->items, ((size_t)found->count + 1) * sizeof(*found->items));
    if (err == 0 && grown == NULL)
        err = -ENOMEM;
    if (err != 0) {
        (void)close(socket->fd);
        return err;
    }
    found->items = grown;
    found->items[found->count++] = *socket;
    return 0;
}

void found_sockets_fini(struct found_sockets *found)
{
    for (int i = 0; i < found->count; i++)
        if (found->items[i].fd >= 0)
            (void)close(found->items[i].fd);
    free(found->items);
    *found = (struct found_sockets){0};
}

/* Takes one out; -1: not there. */
static int take(struct found_sockets *found, uint32_t group, int slot)
{
    for (int i = 0; i < found->count; i++) {
        struct found_socket *item = &found->items[i];
        if (item->fd >= 0 && item->group == group && item->slot == slot) {
            int fd = item->fd;
            item->fd = -1;
            return fd;
        }
    }
    return -1;
}

/* Whether it is a listening stream socket at `expected` (unless that is empty),
 * as a worker would have to hand it over: what workers say is not believed. */
static bool examine(int fd, const struct endpoint *expected, struct endpoint *out)
{
    *out = (struct endpoint){.address_size = sizeof(out->address)};
    if (listeners_get_flag(fd, SOL_SOCKET, SO_ACCEPTCONN) == 0 ||
        listeners_get_flag(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
        getsockname(fd, &out->address.any, &out->address_size) != 0)
        return false;
    int family = out->address.any.sa_family;
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return false;
    return expected == NULL || endpoint_same_address(out, expected);
}

static int prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -errno;
    return 0;
}

/* What was said of the group as a whole. */
static void describe_group(const struct found_sockets *found, uint32_t number,
                           struct listener_group *group)
{
    for (int i = 0; i < found->count; i++)
        if (found->items[i].group == number && found->items[i].slot >= 0) {
            group->kind = found->items[i].kind;
            group->inherited = found->items[i].inherited;
            return;
        }
}

static void take_stopper(struct listener_group *group, struct found_sockets *found, uint32_t number,
                         const struct endpoint *endpoint)
{
    struct endpoint same;
    int fd = take(found, number, FOUND_STOPPER);
    if (fd >= 0 && group->kind == LISTENER_PER_SLOT && examine(fd, endpoint, &same) &&
        prepare(fd) == 0) {
        group->stopper_fd = fd;
        group->first_index = 1;
        /* A stop that had begun had filled it. */
        listeners_discard_early(group);
        return;
    }
    if (fd >= 0)
        (void)close(fd);
}

static int adopt_group(struct listeners *listeners, struct found_sockets *found, uint32_t number,
                       int slot_count, char *error, size_t error_size)
{
    struct endpoint endpoint, same;
    int fd = take(found, number, 0);
    if (fd < 0 || !examine(fd, NULL, &endpoint)) {
        if (fd >= 0)
            (void)close(fd);
        (void)snprintf(error, error_size,
                       "the listening sockets that a worker handed over are not complete "
                       "(group %u)",
                       number);
        return -EPROTO;
    }
    struct listener_group *group = listeners_add_group(listeners, &endpoint, slot_count);
    if (group == NULL) {
        (void)close(fd);
        (void)snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    describe_group(found, number, group);
    group->adopted = true;
    (void)snprintf(group->name, sizeof(group->name), "adopted");
    bool is_unix = endpoint.address.any.sa_family == AF_UNIX;
    int err = 0;
    do {
        err = prepare(fd);
        group->fds[group->fd_count++] = fd;
        fd = group->fd_count < slot_count && !is_unix ? take(found, number, group->fd_count) : -1;
    } while (err == 0 && fd >= 0 && examine(fd, &endpoint, &same));
    if (fd >= 0 && err == 0) {
        (void)close(fd);
        err = -EPROTO;
    }
    if (err != 0) {
        (void)snprintf(error, error_size, "cannot take over the sockets of %s: %s", group->address,
                       log_strerror(err));
        return err;
    }
    take_stopper(group, found, number, &endpoint);
    group->dual_stack = endpoint.address.any.sa_family == AF_INET6 &&
                        listeners_get_flag(group->fds[0], IPPROTO_IPV6, IPV6_V6ONLY) == 0;
    if (is_unix && !group->inherited)
        (void)snprintf(group->unix_path, sizeof(group->unix_path), "%s",
                       endpoint.address.un.sun_path);
    return 0;
}

int listeners_adopt(struct listeners *listeners, struct found_sockets *found, int slot_count,
                    char *error, size_t error_size)
{
    int err = 0;
    uint32_t groups = 0;
    for (int i = 0; i < found->count; i++)
        if (found->items[i].group >= groups)
            groups = found->items[i].group + 1;
    for (uint32_t number = 0; number < groups && err == 0; number++)
        err = adopt_group(listeners, found, number, slot_count, error, error_size);
    found_sockets_fini(found);
    return err;
}
