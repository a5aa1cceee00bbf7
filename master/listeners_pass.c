/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners_pass - the listening sockets go from one master to the next.
 *
 * From one program of this process to the next they go as messages that wait in
 * a socket, whose one end stays open. The workers have all of them, too; but
 * there may be no worker, and what waits in the sockets then would be lost.
 *
 * Those that a worker hands over are known again by the numbers that the kernel
 * gives to sockets.
 */
#include "master/listeners.h"

#include "common/ipc.h"

#include <errno.h>
#include <unistd.h>

/* A number for one socket in one place; 0: the kernel gives it none. */
static uint64_t id_of(uint32_t group, int slot, int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0)
        return 0;
    /* The constants of splitmix64: all bits change with each of the three. */
    uint64_t mixed =
        cookie + UINT64_C(0x9e3779b97f4a7c15) * (group * UINT64_C(4096) + (uint64_t)(slot + 2));
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

/* Sums: they may come in any order. */
uint64_t found_sockets_id(const struct found_sockets *found)
{
    uint64_t sum = 0;
    for (int i = 0; i < found->count; i++)
        sum += id_of(found->items[i].group, found->items[i].slot, found->items[i].fd);
    return sum;
}

uint64_t listeners_id(const struct listeners *listeners)
{
    uint64_t sum = 0;
    for (int g = 0; g < listeners->group_count; g++) {
        const struct listener_group *group = &listeners->group[g];
        for (int i = 0; i < group->fd_count; i++)
            sum += id_of((uint32_t)g, i, group->fds[i]);
        if (group->stopper_fd >= 0)
            sum += id_of((uint32_t)g, FOUND_STOPPER, group->stopper_fd);
    }
    return sum;
}

static int pass(int to, const struct listener_group *group, uint32_t number, int slot,
                const int *fds, int count)
{
    struct buf message;
    buf_init(&message, CONTRACT_MAX_MESSAGE);
    ipc_begin(&message, MESSAGE_SOCKETS);
    ipc_put_u32(&message, FIELD_GROUP, number);
    ipc_put_u32(&message, FIELD_GROUP_KIND, (uint32_t)group->kind);
    ipc_put_u32(&message, FIELD_INHERITED, group->inherited);
    if (slot == FOUND_STOPPER)
        ipc_put_u32(&message, FIELD_KEPT, 1);
    else
        ipc_put_u32(&message, FIELD_FIRST_SLOT, (uint32_t)slot);
    int err = ipc_send(to, &message, fds, count);
    buf_fini(&message);
    return err;
}

static int pass_group(int to, const struct listener_group *group, uint32_t number)
{
    int err = 0;
    for (int first = 0; first < group->fd_count && err == 0; first += CONTRACT_MAX_FDS) {
        int count = group->fd_count - first;
        if (count > CONTRACT_MAX_FDS)
            count = CONTRACT_MAX_FDS;
        err = pass(to, group, number, first, group->fds + first, count);
    }
    if (err == 0 && group->stopper_fd >= 0)
        err = pass(to, group, number, FOUND_STOPPER, &group->stopper_fd, 1);
    return err;
}

int listeners_pass(const struct listeners *listeners)
{
    int pair[2], err = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return -errno;
    for (int i = 0; i < listeners->group_count && err == 0; i++)
        err = pass_group(pair[0], &listeners->group[i], (uint32_t)i);
    (void)close(pair[0]);
    if (err == 0)
        return pair[1];
    (void)close(pair[1]);
    return err;
}

static int take(struct ipc_message *message, struct found_sockets *out)
{
    struct found_socket socket = {.fd = -1};
    uint32_t kept = 0, first = 0, kind = LISTENER_PER_SLOT, inherited = 0;
    (void)ipc_get_u32(message, FIELD_KEPT, &kept);
    (void)ipc_get_u32(message, FIELD_FIRST_SLOT, &first);
    bool fine = message->type == MESSAGE_SOCKETS && first < CONTRACT_MAX_SLOTS &&
                ipc_get_u32(message, FIELD_GROUP, &socket.group);
    int err = fine ? 0 : -EPROTO;
    (void)ipc_get_u32(message, FIELD_GROUP_KIND, &kind);
    (void)ipc_get_u32(message, FIELD_INHERITED, &inherited);
    socket.kind = (enum listener_kind)kind;
    socket.inherited = inherited != 0;
    for (int i = 0; i < message->fd_count && err == 0; i++) {
        socket.slot = kept != 0 ? FOUND_STOPPER : (int)first + i;
        socket.fd = ipc_take_fd(message, i);
        err = found_sockets_add(out, &socket);
    }
    return err;
}

int listeners_take_passed(int from, struct found_sockets *out)
{
    static char scratch[CONTRACT_MAX_MESSAGE];
    struct ipc_message message;
    int got, err = 0;
    while (err == 0 && (got = ipc_receive(from, scratch, &message)) != 0) {
        err = got < 0 ? got : take(&message, out);
        if (got > 0)
            ipc_close_fds(&message);
    }
    if (err != 0)
        found_sockets_fini(out);
    return err;
}
