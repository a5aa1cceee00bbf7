/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handshakes - how many TCP handshakes are under way at our listening sockets.
 */
#include "master/handshakes.h"

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

enum { TCP_STATE_SYN_RECV = 0x03, PORTS = 65536 };

struct port_set {
    uint8_t bits[PORTS / 8];
};

/* sl local_address rem_address st … */
unsigned handshakes_parse_line(const char *line)
{
    unsigned port, state;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers */
    int fields = sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &port, &state);
    return fields == 2 && state == TCP_STATE_SYN_RECV && port < PORTS ? port : 0;
}

/* Where there is no stopper, new connections go on coming: they wait in the
 * service manager's socket for the next start. */
static bool ports_of(const struct listeners *listeners, struct port_set *out)
{
    bool any = false;
    for (int i = 0; i < listeners->group_count; i++) {
        struct sockaddr_in6 local = {0}; /* the port stands at the same place in IPv4 */
        socklen_t size = sizeof(local);
        const struct listener_group *group = &listeners->group[i];
        if (group->stopper_fd < 0 || group->fd_count == 0 ||
            getsockname(group->fds[0], (struct sockaddr *)&local, &size) != 0 ||
            (local.sin6_family != AF_INET && local.sin6_family != AF_INET6))
            continue;
        unsigned port = ntohs(local.sin6_port);
        out->bits[port / 8] |= (uint8_t)(1U << (port % 8));
        any = true;
    }
    return any;
}

static bool table_has(const char *path, const struct port_set *ports)
{
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    for (int i = 0; !found && i < HANDSHAKES_LINES_MAX; i++) {
        if (fgets(line, sizeof(line), file) == NULL)
            break;
        unsigned port = handshakes_parse_line(line);
        found = port != 0 && (ports->bits[port / 8] & (1U << (port % 8))) != 0;
    }
    (void)fclose(file);
    return found;
}

bool handshakes_pending(const struct listeners *listeners)
{
    struct port_set ports = {0};
    return ports_of(listeners, &ports) &&
           (table_has("/proc/self/net/tcp", &ports) || table_has("/proc/self/net/tcp6", &ports));
}
