/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fd_store - the listening sockets, kept by the service manager as well.
 */
#include "master/fd_store.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Not longer: the names of all descriptors are one environment variable. */
static const char SLOT_PREFIX[] = "muster-slot-", STOPPER_NAME[] = "muster-stopper";

enum { NAME_SIZE = 32, BARRIER_TIMEOUT_US = 5000000 };

static void name_of(int slot, char out[NAME_SIZE])
{
    if (slot == FOUND_STOPPER)
        (void)snprintf(out, NAME_SIZE, "%s", STOPPER_NAME);
    else
        (void)snprintf(out, NAME_SIZE, "%s%d", SLOT_PREFIX, slot);
}

bool fd_store_parse_name(const char *name, int *out)
{
    if (strcmp(name, STOPPER_NAME) == 0) {
        *out = FOUND_STOPPER;
        return true;
    }
    if (strncmp(name, SLOT_PREFIX, sizeof(SLOT_PREFIX) - 1) != 0)
        return false;
    const char *digits = name + sizeof(SLOT_PREFIX) - 1;
    char *end;
    if (*digits < '0' || *digits > '9')
        return false;
    errno = 0;
    long slot = strtol(digits, &end, 10);
    if (errno != 0 || *end != '\0' || slot >= CONTRACT_MAX_SLOTS)
        return false;
    *out = (int)slot;
    return true;
}

/* ---- what was handed over ---- */

static bool same_address(int a, int b)
{
    struct sockaddr_storage address[2];
    socklen_t size[2] = {sizeof(address[0]), sizeof(address[1])};
    memset(address, 0, sizeof(address));
    return getsockname(a, (struct sockaddr *)&address[0], &size[0]) == 0 &&
           getsockname(b, (struct sockaddr *)&address[1], &size[1]) == 0 && size[0] == size[1] &&
           memcmp(&address[0], &address[1], size[0]) == 0;
}

int fd_store_collect(struct found_sockets *found, int fd, int slot)
{
    struct found_socket socket = {.slot = slot, .kind = LISTENER_PER_SLOT, .fd = fd};
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.ss_family == AF_UNIX)
        socket.kind = LISTENER_SHARED;
    bool known = false;
    for (int i = 0; i < found->count && !known; i++) {
        known = same_address(found->items[i].fd, fd);
        socket.group = known ? found->items[i].group : socket.group;
        if (!known && found->items[i].group >= socket.group)
            socket.group = found->items[i].group + 1;
    }
    return found_sockets_add(found, &socket);
}

bool fd_store_is_complete(const struct found_sockets *found)
{
    uint32_t begun = 0, seen = 0; /* bit sets of groups */
    for (int i = 0; i < found->count; i++) {
        seen |= UINT32_C(1) << found->items[i].group;
        if (found->items[i].slot == 0)
            begun |= UINT32_C(1) << found->items[i].group;
    }
    return begun == seen;
}

/* ---- what is kept ---- */

static int socket_of(const struct listener_group *group, int slot)
{
    if (group->inherited)
        return -1;
    if (slot == FOUND_STOPPER)
        return group->stopper_fd;
    return slot < group->fd_count ? group->fds[slot] : -1;
}

static int save_slot(const struct listeners *listeners, int slot)
{
    char name[NAME_SIZE], message[64 + NAME_SIZE];
    int fds[CONTRACT_MAX_GROUPS];
    unsigned count = 0;
    for (int i = 0; i < listeners->group_count; i++) {
        int fd = socket_of(&listeners->group[i], slot);
        if (fd >= 0)
            fds[count++] = fd;
    }
    if (count == 0)
        return 0;
    name_of(slot, name);
    /* FDPOLL=0: a listening socket never ends by itself. */
    (void)snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    return sd_pid_notify_with_fds(0, 0, message, fds, count);
}

void fd_store_save(const struct listeners *listeners)
{
    int sockets = 0, slots = 0;
    for (int i = 0; i < listeners->group_count; i++) {
        const struct listener_group *group = &listeners->group[i];
        if (group->inherited)
            continue;
        sockets += group->fd_count + (group->stopper_fd >= 0);
        slots = group->fd_count > slots ? group->fd_count : slots;
    }
    if (sockets == listeners->stored)
        return; /* they come from there */
    int err = 0;
    for (int slot = FOUND_STOPPER; slot < slots && err >= 0; slot++)
        err = save_slot(listeners, slot);
    if (err < 0)
        log_warning("the service manager does not keep the listening sockets", LOG_ERR(-err));
    else if (err > 0)
        log_debug("listening sockets given to the service manager, too",
                  LOG_INT("sockets", sockets));
}

void fd_store_forget(int slot_count, bool wait)
{
    for (int slot = slot_count - 1; slot >= FOUND_STOPPER; slot--) {
        char name[NAME_SIZE];
        name_of(slot, name);
        if (sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name) <= 0)
            return;
    }
    if (wait)
        (void)sd_notify_barrier(0, BARRIER_TIMEOUT_US);
}
