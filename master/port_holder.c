/* SPDX-License-Identifier: BSD-2-Clause
 *
 * port_holder - who listens on a TCP port, for error messages.
 */
#include "master/port_holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TCP_STATE_LISTEN = 0x0a };

struct holder {
    uint64_t inode; /* of the socket */
    unsigned uid;   /* who made it */
};

/* One line of /proc/self/net/tcp:
 *   sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode … */
static bool parse_line(const char *line, int port, struct holder *out)
{
    unsigned local_port, state, uid;
    uint64_t inode;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers */
    int fields = sscanf(line,
                        " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %u %*u "
                        "%" SCNu64,
                        &local_port, &state, &uid, &inode);
    if (fields != 4 || state != TCP_STATE_LISTEN || local_port != (unsigned)port)
        return false;
    *out = (struct holder){.inode = inode, .uid = uid};
    return true;
}

static bool find_socket(const char *path, int port, struct holder *out)
{
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = parse_line(line, port, out);
    fclose(file);
    return found;
}

static bool process_has_socket(const char *pid, uint64_t inode)
{
    char path[64], wanted[40], target[64];
    bool found = false;
    snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", inode);
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return false;
    struct dirent *entry;
    while (!found && (entry = readdir(directory)) != NULL) {
        ssize_t len = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
        if (len <= 0)
            continue;
        target[len] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    closedir(directory);
    return found;
}

static void read_name(const char *pid, char *out, size_t size)
{
    char path[64];
    snprintf(out, size, "?");
    snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(out, (int)size, file) != NULL)
        out[strcspn(out, "\n")] = '\0';
    fclose(file);
    for (char *at = out; *at != '\0'; at++)
        if (!isprint((unsigned char)*at))
            *at = '?';
}

static bool find_process(uint64_t inode, char *out, size_t size)
{
    bool found = false;
    DIR *directory = opendir("/proc");
    if (directory == NULL)
        return false;
    struct dirent *entry;
    while (!found && (entry = readdir(directory)) != NULL) {
        char name[32];
        if (!isdigit((unsigned char)entry->d_name[0]) || !process_has_socket(entry->d_name, inode))
            continue;
        read_name(entry->d_name, name, sizeof(name));
        snprintf(out, size, "pid %.20s (%s)", entry->d_name, name);
        found = true;
    }
    closedir(directory);
    return found;
}

bool port_holder_describe(int family, int port, char *out, size_t size)
{
    /* Not /proc/net: that is not there with ProcSubset=pid.
     * A dual-stack IPv6 socket holds the IPv4 port as well, and the reverse
     * is what a new dual-stack socket runs into. */
    static const char *const tables[] = {"/proc/self/net/tcp", "/proc/self/net/tcp6"};
    int first = family == AF_INET6 ? 1 : 0;
    struct holder holder;
    if (!find_socket(tables[first], port, &holder) &&
        !find_socket(tables[1 - first], port, &holder))
        return false;
    if (find_process(holder.inode, out, size))
        return true;
    snprintf(out, size, "a process of user %u", holder.uid);
    return true;
}
