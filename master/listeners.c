/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners - the public listening sockets: steering, refusing, closing.
 */
#include "master/listeners.h"

#include "common/log.h"
#include "master/dispatch.h"
#include "master/listeners_private.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int listeners_attach(int fd, const struct dispatch_program *program)
{
    const struct sock_fprog filter = {program->count, (struct sock_filter *)program->code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof(filter)) == 0
               ? 0
               : -errno;
}

/* ---- steering and closing ---- */

static int steer(struct listener_group *group, const struct dispatch_choice *choice)
{
    struct dispatch_program program;
    struct dispatch_group shape = {.network = DISPATCH_IPV4, .first_index = group->first_index};
    if (group->family == AF_INET6)
        shape.network = group->dual_stack ? DISPATCH_DUAL : DISPATCH_IPV6;
    int err = dispatch_build(choice, &shape, &program);
    if (err == 0)
        err = listeners_attach(group->fds[0], &program);
    bool refused = err != 0 && choice->algorithm != BALANCE_ROUND_ROBIN;
    if (refused) {
        int reason = err;
        err = dispatch_build_even(&choice->slots, choice->slot_count, group->first_index, &program);
        if (err == 0)
            err = listeners_attach(group->fds[0], &program);
        if (err == 0 && !group->fell_back)
            log_warning("the kernel refused the program of the algorithm, spreading evenly",
                        LOG_STR("address", group->address), LOG_ERR(reason));
    }
    group->fell_back = refused && err == 0;
    return err;
}

int listeners_steer(struct listeners *listeners, const struct dispatch_choice *choice)
{
    int err = 0;
    for (int i = 0; i < listeners->group_count; i++) {
        if (listeners->group[i].kind != LISTENER_PER_SLOT)
            continue;
        int failed = steer(&listeners->group[i], choice);
        if (err == 0)
            err = failed;
    }
    return err;
}

/* A client socket bound to the address that the stopper listens on (loopback
 * for a wildcard), so that its source is known before it connects. */
static int open_filler(const struct listener_group *group, struct endpoint *target,
                       struct endpoint *source)
{
    target->address_size = sizeof(target->address);
    if (getsockname(group->stopper_fd, &target->address.any, &target->address_size) != 0)
        return -errno;
    int family = target->address.any.sa_family;
    if (family == AF_INET && target->address.v4.sin_addr.s_addr == htonl(INADDR_ANY))
        target->address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&target->address.v6.sin6_addr))
        target->address.v6.sin6_addr = in6addr_loopback;
    *source = *target;
    source->address.v4.sin_port = 0; /* at the same place in both families */
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* The stopper overlooks everything else. */
    const int ttl = LISTENERS_OWN_TTL;
    (void)setsockopt(fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
                     family == AF_INET6 ? IPV6_UNICAST_HOPS : IP_TTL, &ttl, sizeof(ttl));
    if (bind(fd, &source->address.any, source->address_size) != 0 ||
        getsockname(fd, &source->address.any, &source->address_size) != 0) {
        int err = -errno;
        (void)close(fd);
        return err;
    }
    return fd;
}

/* How long the queue of one listening socket is, -1 if not known. */
static int64_t queue_length(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return -1;
    return info.tcpi_unacked; /* of a listening socket this is its accept queue */
}

/* Fills the queue of the stopper and steers everything to it. */
static int engage_stopper(struct listener_group *group, const struct slot_set *steered,
                          int slot_count)
{
    enum { TRIES = 20, PAUSE_MS = 1 }; /* on loopback the first try succeeds */
    struct endpoint target = {0}, source = {0};
    struct dispatch_program program;
    group->filler_fd = open_filler(group, &target, &source);
    if (group->filler_fd < 0)
        return group->filler_fd;
    uint32_t address;
    bool v4 = source.address.any.sa_family == AF_INET;
    memcpy(&address,
           v4 ? (const char *)&source.address.v4.sin_addr
              : (const char *)&source.address.v6.sin6_addr + 12,
           sizeof(address));
    if (dispatch_build_even(steered, slot_count, group->first_index, &program) != 0)
        dispatch_build_one(group->first_index, &program);
    dispatch_divert(&program, source.address.any.sa_family, ntohl(address),
                    ntohs(source.address.v4.sin_port), 0);
    int err = listeners_attach(group->stopper_fd, &program);
    if (err != 0)
        return err;
    if (connect(group->filler_fd, &target.address.any, target.address_size) != 0 &&
        errno != EINPROGRESS)
        return -errno;
    for (int i = 0; i < TRIES && queue_length(group->stopper_fd) < 1; i++)
        (void)poll(NULL, 0, PAUSE_MS);
    if (queue_length(group->stopper_fd) < 1)
        return -ETIMEDOUT;
    dispatch_build_one(0, &program);
    return listeners_attach(group->stopper_fd, &program);
}

void listeners_refuse_new(struct listeners *listeners, const struct slot_set *steered,
                          int slot_count)
{
    for (int i = 0; i < listeners->group_count; i++) {
        struct listener_group *group = &listeners->group[i];
        struct dispatch_program program;
        int err = 0;
        if (group->unix_path[0] != '\0') {
            (void)unlink(group->unix_path);
            group->unix_path[0] = '\0';
        } else if (group->stopper_fd >= 0) {
            err = engage_stopper(group, steered, slot_count);
        } else if (group->kind == LISTENER_PER_SLOT) {
            /* The service manager's socket is the first one and outlives us:
             * new connections wait in it for the next start. */
            dispatch_build_one(0, &program);
            err = listeners_attach(group->fds[0], &program);
        }
        if (err != 0)
            log_warning("cannot keep new connections away, some may be reset",
                        LOG_STR("address", group->address), LOG_ERR(err));
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void listeners_leave_names(struct listeners *listeners)
{
    for (int i = 0; i < listeners->group_count; i++)
        if (listeners->group[i].adopted)
            listeners->group[i].unix_path[0] = '\0';
}

void listeners_close(struct listeners *listeners)
{
    for (int i = 0; i < listeners->group_count; i++) {
        struct listener_group *group = &listeners->group[i];
        if (group->unix_path[0] != '\0')
            (void)unlink(group->unix_path);
        for (int n = 0; n < group->fd_count; n++)
            (void)close(group->fds[n]);
        free(group->fds);
        close_fd(&group->stopper_fd); /* after the others: they must not take its place */
        close_fd(&group->filler_fd);
        memset(group, 0, sizeof(*group));
    }
    listeners->group_count = 0;
}

int64_t listeners_queue(const struct listener_group *group)
{
    int64_t total = 0;
    for (int i = 0; i < group->fd_count; i++) {
        int64_t length = queue_length(group->fds[i]);
        if (length < 0)
            return -1;
        total += length;
    }
    return total;
}
