/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_socket - the listening sockets of the management server.
 */
#include "common/log.h"
#include "master/management_private.h"
#include "master/port_holder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse_address(const char *text, int port, union address *out)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons((uint16_t)port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        return true;
    }
    return false;
}

static bool is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* A listening socket, or -errno. */
static int open_tcp(const union address *address, bool dual_stack)
{
    int on = 1;
    int off = dual_stack ? 0 : 1;
    bool v6 = address->any.sa_family == AF_INET6;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (!v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
        bind(fd, &address->any, v6 ? sizeof(address->v6) : sizeof(address->v4)) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

static void explain(const char *text, int port, int family, int error, char *out, size_t size)
{
    bool brackets = strchr(text, ':') != NULL;
    char holder[96], address[80];
    snprintf(address, sizeof(address), brackets ? "[%s]:%d" : "%s:%d", text, port);
    if (error == EADDRINUSE && port_holder_describe(family, port, holder, sizeof(holder)))
        snprintf(out, size, "%s: address already in use, held by %s", address, holder);
    else if (error == EADDRINUSE)
        snprintf(out, size, "%s: address already in use", address);
    else
        snprintf(out, size, "%s: %s", address, log_strerror(error));
}

bool management_bind_tcp(const char *text, int port, struct management_bound *out, char *error,
                         size_t error_size)
{
    union address address;
    bool every = strcmp(text, "*") == 0;
    const char *numeric = every ? "::" : strcmp(text, "localhost") == 0 ? "127.0.0.1" : text;
    if (!parse_address(numeric, port, &address)) {
        snprintf(error, error_size, "%s is not a numeric address", text);
        return false;
    }
    int fd = open_tcp(&address, every);
    if (every && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) { /* no IPv6 here */
        CHECK(parse_address("0.0.0.0", port, &address));
        fd = open_tcp(&address, false);
    }
    if (fd < 0) {
        explain(text, port, address.any.sa_family, -fd, error, error_size);
        return false;
    }
    out->fd = fd;
    out->loopback = is_loopback(&address);
    return true;
}

int management_bind_unix(const char *path, char *error, size_t error_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    if (strlen(path) >= sizeof(address.sun_path)) {
        snprintf(error, error_size,
                 "%s: longer than the %zu bytes that the path of a socket may "
                 "have; choose a shorter run_dir",
                 path, sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    /* Whoever left it is gone: only one master holds the lock of this run_dir. */
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        (void)unlink(path);

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failed = fd < 0 ? errno : 0;
    if (failed == 0) {
        mode_t before = umask(0177); /* it is never more open, not even for a moment */
        failed = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
        umask(before);
    }
    if (failed == 0 && listen(fd, BACKLOG) != 0)
        failed = errno;
    if (failed == 0)
        return fd;
    snprintf(error, error_size, "%s: %s", path, log_strerror(failed));
    if (fd >= 0)
        close(fd);
    return -1;
}
