/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listeners_open - opening the public listening sockets: from the configuration,
 * from the service manager, or from the workers of a master that is gone.
 */
#include "master/listeners_private.h"

#include "common/log.h"
#include "master/dispatch.h"
#include "master/fd_store.h"
#include "master/port_holder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int fail(char *error, size_t size, const char *address, const char *what, int err)
{
    (void)snprintf(error, size, "cannot listen on %s: %s: %s", address, what, log_strerror(err));
    return -err;
}

void endpoint_describe(const struct sockaddr *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        (void)snprintf(out, size, "%s:%u", host, ntohs(v4.sin_port));
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        (void)snprintf(out, size, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else {
        struct sockaddr_un un;
        memcpy(&un, address, sizeof(un));
        (void)snprintf(out, size, "unix:%.*s", (int)sizeof(un.sun_path) - 1, un.sun_path);
    }
}

int listeners_set_flag(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* ---- opening ---- */

static int open_tcp(const struct endpoint *endpoint, bool reuse_port, bool dual_stack, int backlog)
{
    int family = endpoint->address.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = listeners_set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && reuse_port)
        err = listeners_set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && family == AF_INET6)
        err = listeners_set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual_stack);
    /* Accepted connections inherit it: no system call for each of them. */
    if (err == 0)
        err = listeners_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (err == 0 && bind(fd, &endpoint->address.any, endpoint->address_size) != 0)
        err = -errno;
    if (err == 0 && backlog > 0 && listen(fd, backlog) != 0)
        err = -errno;
    if (err != 0) {
        (void)close(fd);
        return err;
    }
    return fd;
}

struct listener_group *listeners_add_group(struct listeners *listeners,
                                           const struct endpoint *endpoint, int fd_count)
{
    if (listeners->group_count == CONTRACT_MAX_GROUPS)
        return NULL;
    struct listener_group *group = &listeners->group[listeners->group_count];
    memset(group, 0, sizeof(*group));
    group->stopper_fd = -1;
    group->filler_fd = -1;
    group->fds = calloc((size_t)fd_count, sizeof(*group->fds));
    if (group->fds == NULL)
        return NULL;
    (void)snprintf(group->name, sizeof(group->name), "%s",
                   endpoint->listen != NULL ? endpoint->listen->name : "systemd");
    group->family = endpoint->address.any.sa_family;
    endpoint_describe(&endpoint->address.any, group->address, sizeof(group->address));
    listeners->group_count++;
    return group;
}

/* Adds sockets for the slots that have none. With -EADDRINUSE on a socket of
 * the service manager the group stays shared: another user opened it. */
int listeners_fill_group(struct listener_group *group, const struct endpoint *endpoint,
                         int slot_count, int backlog)
{
    while (group->fd_count < slot_count) {
        int fd = open_tcp(endpoint, true, group->dual_stack, backlog);
        if (fd < 0)
            return fd;
        group->fds[group->fd_count++] = fd;
    }
    return 0;
}

/* Makes a listening socket overlook whatever comes with less than the highest
 * possible time to live: a SYN of everybody but our own filler, which says 255.
 * The kernel drops such a packet without an answer; the client sends it again
 * after a second. No privilege is needed. */
static int overlook_clients(int fd, int family)
{
    return family == AF_INET6
               ? listeners_set_flag(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, LISTENERS_OWN_TTL)
               : listeners_set_flag(fd, IPPROTO_IP, IP_MINTTL, LISTENERS_OWN_TTL);
}

/* The first member of a group. Between its listen(2) and that of slot 0 it is
 * the only one, and the kernel would give it every new connection, which nobody
 * accepts: a server that starts while clients are trying would answer some of
 * them with a reset, and at a long round trip those whose handshake began then.
 * So it overlooks them. What comes from our own network with a time to live of
 * 255 nevertheless is turned away by listeners_discard_early(). */
static int open_stopper(struct listener_group *group, const struct endpoint *endpoint)
{
    struct dispatch_program program;
    dispatch_build_one(1, &program);
    int fd = open_tcp(endpoint, true, false, 0);
    if (fd < 0)
        return fd;
    int err = overlook_clients(fd, endpoint->address.any.sa_family);
    if (err == 0)
        err = listeners_attach(fd, &program);
    if (err == 0 && listen(fd, 0) != 0)
        err = -errno;
    if (err != 0) {
        (void)close(fd);
        return err;
    }
    group->stopper_fd = fd;
    group->first_index = 1;
    return 0;
}

void listeners_discard_early(const struct listener_group *group)
{
    int fd;
    while ((fd = accept4(group->stopper_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        (void)close(fd);
}

static int in_use(const struct endpoint *endpoint, char *error, size_t error_size)
{
    char address[CLUSTER_ADDRESS_SIZE], holder[128];
    endpoint_describe(&endpoint->address.any, address, sizeof(address));
    int family = endpoint->address.any.sa_family;
    int port =
        ntohs(family == AF_INET ? endpoint->address.v4.sin_port : endpoint->address.v6.sin6_port);
    if (!port_holder_describe(family, port, holder, sizeof(holder)))
        (void)snprintf(holder, sizeof(holder), "a process that this user may not see");
    /* The names of worker processes (worker/main.c). */
    bool orphan = strstr(holder, "(muster-w") != NULL;
    (void)snprintf(error, error_size, "cannot listen on %s: address already in use, held by %s; %s",
                   address, holder,
                   orphan ? "a worker whose master was killed leaves after orphan_timeout, or on "
                            "SIGTERM"
                          : "stop it, or choose another port (listen { port = ... }, or the "
                            "variable PORT)");
    return -EADDRINUSE;
}

static int open_group_locked(struct listeners *listeners, const struct endpoint *endpoint,
                             int slot_count, char *error, size_t error_size)
{
    char address[CLUSTER_ADDRESS_SIZE];
    endpoint_describe(&endpoint->address.any, address, sizeof(address));
    /* SO_REUSEPORT lets a second cluster of the same user join silently; a
     * socket without it does not, and so finds out whether anybody is there. */
    int probe = open_tcp(endpoint, false, false, 0);
    if (probe == -EAFNOSUPPORT || (probe == -EADDRNOTAVAIL && endpoint->optional)) {
        if (endpoint->optional) {
            log_notice("no IPv6 here, listening on IPv4 only", LOG_STR("address", address));
            return 0;
        }
    }
    if (probe == -EADDRINUSE)
        return in_use(endpoint, error, error_size);
    if (probe < 0)
        return fail(error, error_size, address, "bind", -probe);
    (void)close(probe);

    struct listener_group *group = listeners_add_group(listeners, endpoint, slot_count);
    if (group == NULL)
        return fail(error, error_size, address, "too many addresses", ENOSPC);
    group->kind = LISTENER_PER_SLOT;
    int err = open_stopper(group, endpoint);
    if (err == 0)
        err = listeners_fill_group(group, endpoint, slot_count, endpoint->listen->backlog);
    if (err == 0)
        listeners_discard_early(group);
    return err == 0 ? 0 : fail(error, error_size, address, "listen", -err);
}

/* Looking whether somebody is there and opening the group are two steps: of two
 * masters that start at the same moment the second has to look after the first
 * has opened. The lock is a name in the abstract Unix namespace, which is that
 * of the network. Whoever squats on it only takes this care away. */
static int lock_address(const char *address)
{
    enum { TRIES = 500, PAUSE_MS = 10 };
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int len = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "muster:%s", address);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    for (int i = 0; i < TRIES && fd >= 0; i++) {
        if (bind(fd, (const struct sockaddr *)&name, size) == 0 || errno != EADDRINUSE)
            break;
        (void)poll(NULL, 0, PAUSE_MS);
    }
    return fd;
}

static int open_group(struct listeners *listeners, const struct endpoint *endpoint, int slot_count,
                      char *error, size_t error_size)
{
    char address[CLUSTER_ADDRESS_SIZE];
    endpoint_describe(&endpoint->address.any, address, sizeof(address));
    int lock = lock_address(address);
    int err = open_group_locked(listeners, endpoint, slot_count, error, error_size);
    if (lock >= 0)
        (void)close(lock);
    return err;
}

/* A name left behind by a dead process is removed, one that somebody listens
 * on is not. */
static int clear_unix_path(const struct endpoint *endpoint)
{
    struct stat st;
    if (lstat(endpoint->address.un.sun_path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int connected = connect(fd, &endpoint->address.any, endpoint->address_size);
    int err = errno;
    (void)close(fd);
    if (connected == 0 || err == EAGAIN)
        return -EADDRINUSE;
    return unlink(endpoint->address.un.sun_path) == 0 ? 0 : -errno;
}

static int open_unix(struct listeners *listeners, const struct endpoint *endpoint, char *error,
                     size_t error_size)
{
    char address[CLUSTER_ADDRESS_SIZE];
    endpoint_describe(&endpoint->address.any, address, sizeof(address));
    int err = clear_unix_path(endpoint);
    if (err != 0)
        return fail(error, error_size, address, "the path is taken", -err);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(error, error_size, address, "socket", errno);
    mode_t mask = umask((mode_t)(~endpoint->listen->mode & 0777));
    int bound = bind(fd, &endpoint->address.any, endpoint->address_size);
    err = errno;
    (void)umask(mask);
    if (bound == 0 && listen(fd, endpoint->listen->backlog) != 0) {
        bound = -1;
        err = errno;
    }
    struct listener_group *group = bound == 0 ? listeners_add_group(listeners, endpoint, 1) : NULL;
    if (group == NULL) {
        (void)close(fd);
        return fail(error, error_size, address, "bind", bound == 0 ? ENOSPC : err);
    }
    group->kind = LISTENER_SHARED;
    group->fds[group->fd_count++] = fd;
    (void)snprintf(group->unix_path, sizeof(group->unix_path), "%s", endpoint->address.un.sun_path);
    return 0;
}

/* ---- what the service manager hands over ---- */

bool endpoint_same_address(const struct endpoint *a, const struct endpoint *b)
{
    if (a->address.any.sa_family != b->address.any.sa_family)
        return false;
    switch (a->address.any.sa_family) {
    case AF_INET:
        return a->address.v4.sin_port == b->address.v4.sin_port &&
               a->address.v4.sin_addr.s_addr == b->address.v4.sin_addr.s_addr;
    case AF_INET6:
        return a->address.v6.sin6_port == b->address.v6.sin6_port &&
               memcmp(&a->address.v6.sin6_addr, &b->address.v6.sin6_addr,
                      sizeof(struct in6_addr)) == 0;
    default:
        return strcmp(a->address.un.sun_path, b->address.un.sun_path) == 0;
    }
}

int listeners_get_flag(int fd, int level, int option)
{
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, level, option, &value, &size) == 0 ? value : 0;
}

static bool is_wildcard_v4(const struct endpoint *endpoint)
{
    return endpoint->address.any.sa_family == AF_INET &&
           endpoint->address.v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* The group that already listens on this address, or NULL. */
static struct listener_group *find_group(struct listeners *listeners,
                                         const struct endpoint *endpoint)
{
    for (int i = 0; i < listeners->group_count; i++) {
        struct listener_group *group = &listeners->group[i];
        struct endpoint other = {.address_size = sizeof(other.address)};
        if (group->fd_count == 0 ||
            getsockname(group->fds[0], &other.address.any, &other.address_size) != 0)
            continue;
        if (endpoint_same_address(&other, endpoint))
            return group;
        if (group->dual_stack && is_wildcard_v4(endpoint) &&
            other.address.v6.sin6_port == endpoint->address.v4.sin_port)
            return group;
    }
    return NULL;
}

static int inherit_one(struct listeners *listeners, int fd, const char *name, int slot_count,
                       char *error, size_t error_size)
{
    struct endpoint endpoint = {0};
    endpoint.address_size = sizeof(endpoint.address);
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
        getsockname(fd, &endpoint.address.any, &endpoint.address_size) != 0) {
        (void)snprintf(error, error_size,
                       "the service manager handed over a descriptor that is not a listening "
                       "stream socket (LISTEN_FDS, number %d, name %s)",
                       fd, name);
        return -EINVAL;
    }
    struct listener_group *group = find_group(listeners, &endpoint);
    if (group != NULL) {
        /* The workers of the master before have handed us this one already. */
        (void)snprintf(group->name, sizeof(group->name), "%s", name);
        group->inherited = true;
        (void)close(fd);
        return 0;
    }
    bool is_unix = endpoint.address.any.sa_family == AF_UNIX;
    group = listeners_add_group(listeners, &endpoint, is_unix ? 1 : slot_count);
    if (group == NULL)
        return fail(error, error_size, "LISTEN_FDS", "too many sockets", ENOSPC);
    (void)snprintf(group->name, sizeof(group->name), "%s", name);
    group->inherited = true;
    group->fds[group->fd_count++] = fd;
    group->kind = LISTENER_SHARED;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return fail(error, error_size, group->address, "fcntl", errno);
    if (is_unix)
        return 0;

    (void)listeners_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    group->dual_stack = endpoint.address.any.sa_family == AF_INET6 &&
                        listeners_get_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
    if (listeners_get_flag(fd, SOL_SOCKET, SO_REUSEPORT) == 0) {
        log_notice("socket from the service manager has no SO_REUSEPORT (ReusePort=yes): all "
                   "workers share it",
                   LOG_STR("address", group->address));
        return 0;
    }
    int err = listeners_fill_group(group, &endpoint, slot_count, SOMAXCONN);
    if (err == 0) {
        group->kind = LISTENER_PER_SLOT;
        return 0;
    }
    while (group->fd_count > 1)
        (void)close(group->fds[--group->fd_count]);
    log_notice("socket from the service manager belongs to another user and cannot be joined: all "
               "workers share it",
               LOG_STR("address", group->address), LOG_ERR(err));
    return 0;
}

/* The descriptors of LISTEN_FDS; a name is NULL when its descriptor is taken. */
struct handed_over {
    char **names;
    int count;
};

static void free_handed_over(struct handed_over *handed)
{
    for (int i = 0; i < handed->count; i++)
        free(handed->names[i]);
    free(handed->names);
}

/* Takes out those that a master before this one had stored. */
static int take_stored(struct handed_over *handed, struct found_sockets *out)
{
    int err = 0;
    for (int i = 0; i < handed->count; i++) {
        int slot;
        if (!fd_store_parse_name(handed->names[i], &slot))
            continue;
        int failed = fd_store_collect(out, SD_LISTEN_FDS_START + i, slot);
        err = err == 0 ? failed : err;
        free(handed->names[i]);
        handed->names[i] = NULL;
    }
    return err;
}

static int inherit(struct listeners *listeners, const struct handed_over *handed, int slot_count,
                   char *error, size_t error_size)
{
    int err = 0;
    for (int i = 0; i < handed->count && err == 0; i++)
        if (handed->names[i] != NULL)
            err = inherit_one(listeners, SD_LISTEN_FDS_START + i, handed->names[i], slot_count,
                              error, error_size);
    return err;
}

/* What outlived the master before: living workers have it all; without them there is what the
 * service manager kept. */
static int take_over(struct listeners *listeners, struct found_sockets *found,
                     struct handed_over *handed, int slot_count, char *error, size_t error_size)
{
    struct found_sockets stored = {0};
    int err = take_stored(handed, &stored), count = stored.count;
    bool usable = err == 0 && count > 0 && fd_store_is_complete(&stored);
    err = 0;
    if (found != NULL && found->count > 0) {
        listeners->stored = usable ? count : 0;
        err = listeners_adopt(listeners, found, slot_count, error, error_size);
    } else if (usable) {
        log_notice("taking back the sockets that the service manager kept",
                   LOG_INT("sockets", count));
        listeners->stored = count;
        err = listeners_adopt(listeners, &stored, slot_count, error, error_size);
    }
    found_sockets_fini(&stored);
    if (count > 0 && !usable) {
        log_warning("the service manager kept some of the sockets only, which is of no use: "
                    "FileDescriptorStoreMax= must be addresses x (max_workers + 1)",
                    LOG_INT("sockets", count));
        fd_store_forget(CONTRACT_MAX_SLOTS, true);
    }
    return err;
}

/* ---- from the configuration ---- */

static void add_v4(struct endpoint *endpoint, const char *host, int port)
{
    endpoint->address.v4.sin_family = AF_INET;
    endpoint->address.v4.sin_port = htons((uint16_t)port);
    (void)inet_pton(AF_INET, host, &endpoint->address.v4.sin_addr);
    endpoint->address_size = sizeof(endpoint->address.v4);
}

static void add_v6(struct endpoint *endpoint, const char *host, int port)
{
    endpoint->address.v6.sin6_family = AF_INET6;
    endpoint->address.v6.sin6_port = htons((uint16_t)port);
    (void)inet_pton(AF_INET6, host, &endpoint->address.v6.sin6_addr);
    endpoint->address_size = sizeof(endpoint->address.v6);
}

/* One listen section is one or two addresses. */
static int endpoints_of(const struct config_listen *listen, struct endpoint out[2])
{
    memset(out, 0, 2 * sizeof(*out));
    out[0].listen = listen;
    out[1].listen = listen;
    if (listen->path != NULL && listen->path[0] != '\0') {
        out[0].address.un.sun_family = AF_UNIX;
        (void)snprintf(out[0].address.un.sun_path, sizeof(out[0].address.un.sun_path), "%s",
                       listen->path);
        out[0].address_size = sizeof(out[0].address.un);
        return 1;
    }
    bool any = strcmp(listen->address, "*") == 0;
    if (any || strcmp(listen->address, "localhost") == 0) {
        add_v4(&out[0], any ? "0.0.0.0" : "127.0.0.1", listen->port);
        add_v6(&out[1], any ? "::" : "::1", listen->port);
        out[1].optional = true;
        return 2;
    }
    if (strchr(listen->address, ':') != NULL)
        add_v6(&out[0], listen->address, listen->port);
    else
        add_v4(&out[0], listen->address, listen->port);
    return 1;
}

/* A group that is open already gets what the configuration says of it. 0 or -errno. */
static int settle_group(struct listener_group *group, const struct endpoint *endpoint,
                        int slot_count, char *error, size_t error_size)
{
    int err = 0;
    group->configured = true;
    if (!group->adopted)
        return 0;
    if (!group->inherited)
        (void)snprintf(group->name, sizeof(group->name), "%s", endpoint->listen->name);
    if (group->kind == LISTENER_PER_SLOT)
        err = listeners_fill_group(group, endpoint, slot_count, endpoint->listen->backlog);
    return err == 0 ? 0 : fail(error, error_size, group->address, "listen", -err);
}

static void warn_unconfigured(const struct listeners *listeners)
{
    for (int i = 0; i < listeners->group_count; i++) {
        const struct listener_group *group = &listeners->group[i];
        if (group->adopted && !group->configured && !group->inherited)
            log_warning("an address that is not configured any more stays open until the cluster "
                        "stops: it may have clients",
                        LOG_STR("address", group->address));
    }
}

int listeners_open(struct listeners *listeners, const struct config *config, int slot_count,
                   uid_t unix_owner, struct found_sockets *found, char *error, size_t error_size)
{
    memset(listeners, 0, sizeof(*listeners));
    struct handed_over handed = {0};
    handed.count = sd_listen_fds_with_names(1, &handed.names);
    if (handed.count < 0)
        handed.count = 0;
    int err = take_over(listeners, found, &handed, slot_count, error, error_size);
    if (err == 0)
        err = inherit(listeners, &handed, slot_count, error, error_size);
    free_handed_over(&handed);
    for (int i = 0; i < config->listen_count && err == 0; i++) {
        struct endpoint endpoint[2];
        int count = endpoints_of(&config->listens[i], endpoint);
        for (int n = 0; n < count && err == 0; n++) {
            struct listener_group *group = find_group(listeners, &endpoint[n]);
            if (group != NULL)
                err = settle_group(group, &endpoint[n], slot_count, error, error_size);
            else if (endpoint[n].address.any.sa_family == AF_UNIX) {
                err = open_unix(listeners, &endpoint[n], error, error_size);
                if (err == 0 && unix_owner != geteuid() &&
                    lchown(config->listens[i].path, unix_owner, (gid_t)-1) != 0)
                    err = fail(error, error_size, config->listens[i].path, "chown", errno);
            } else {
                err = open_group(listeners, &endpoint[n], slot_count, error, error_size);
            }
        }
    }
    if (err != 0) {
        listeners_leave_names(listeners);
        listeners_close(listeners);
    } else
        warn_unconfigured(listeners);
    return err;
}
