/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wire - two network namespaces and a slow wire between them.
 *
 *   wire DELAY_MS
 *
 * Makes both namespaces, a TUN device in each, and carries packets from one to
 * the other, each DELAY_MS after it was sent. Prints one line of JSON: where
 * programs find the namespaces (nsenter --net=PATH) and the addresses. Ends
 * when its standard input does, so nothing outlives whoever started it: the
 * namespaces belong to nobody else and vanish with the last process in them.
 *
 * Why not a veth pair with netem: netem is a module that many kernels lack,
 * those of virtual machines that run tests above all. TUN is nearly
 * everywhere, and this needs no other program.
 *
 * Exit status: 0 at the end of input, 1 when a wire breaks, 64 for a mistake in
 * the arguments, 77 where namespaces or TUN devices are not to be had (it says
 * why on standard error).
 */
#include "common/check.h"
#include "common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

#define DEVICE "wire0"
#define SERVER_ADDRESS "10.77.0.1"
#define CLIENT_ADDRESS "10.77.0.2"
#define CLIENT_SOURCE "10.77.1.1" /* all of 10.77.1.0/24 is the client's */

enum {
    EXIT_USAGE = 64,
    EXIT_NOT_HERE = 77,
    PACKET_SIZE = 1600,
    PACKETS_MAX = 16384, /* on the way, in one direction */
    DEVICE_QUEUE = 10000
};

struct packet {
    int64_t due_ns;
    size_t len;
    unsigned char data[PACKET_SIZE];
};

/* One direction: first in, first out, as all wait for the same time. */
struct line {
    struct packet *packets;
    unsigned first, count;
    uint64_t dropped;
};

struct end {
    int namespace_fd, device_fd;
};

static _Noreturn void __attribute__((format(printf, 2, 3)))
fail(int status, const char *format, ...)
{
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "wire: ");
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, ": %s\n", strerror(error));
    va_end(arguments);
    exit(status);
}

static void set_address(int fd, const char *device, unsigned long request, const char *address)
{
    struct ifreq ask = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&ask.ifr_addr;
    (void)snprintf(ask.ifr_name, sizeof(ask.ifr_name), "%s", device);
    in->sin_family = AF_INET;
    CHECK(inet_pton(AF_INET, address, &in->sin_addr) == 1);
    if (ioctl(fd, request, &ask) != 0)
        fail(EXIT_NOT_HERE, "address %s of %s", address, device);
}

static void bring_up(int fd, const char *device)
{
    struct ifreq ask = {0};
    (void)snprintf(ask.ifr_name, sizeof(ask.ifr_name), "%s", device);
    if (ioctl(fd, SIOCGIFFLAGS, &ask) != 0)
        fail(EXIT_NOT_HERE, "flags of %s", device);
    ask.ifr_flags = (short)(ask.ifr_flags | IFF_UP | IFF_RUNNING);
    if (ioctl(fd, SIOCSIFFLAGS, &ask) != 0)
        fail(EXIT_NOT_HERE, "%s cannot be brought up", device);
}

static int open_device(int fd)
{
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0)
        fail(EXIT_NOT_HERE, "/dev/net/tun");
    struct ifreq ask = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    (void)snprintf(ask.ifr_name, sizeof(ask.ifr_name), "%s", DEVICE);
    if (ioctl(device, TUNSETIFF, &ask) != 0)
        fail(EXIT_NOT_HERE, "a TUN device");
    ask.ifr_qlen = DEVICE_QUEUE; /* the default of 500 loses packets of a burst */
    if (ioctl(fd, SIOCSIFTXQLEN, &ask) != 0)
        fail(EXIT_NOT_HERE, "the queue of %s", DEVICE);
    return device;
}

/* A namespace of its own with one end of the wire; the process is in it then. */
static struct end make_end(const char *address, const char *more_addresses)
{
    struct end end;
    if (unshare(CLONE_NEWNET) != 0)
        fail(EXIT_NOT_HERE, "a network namespace");
    end.namespace_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end.namespace_fd < 0 || fd < 0)
        fail(EXIT_NOT_HERE, "the new network namespace");
    end.device_fd = open_device(fd);
    bring_up(fd, "lo");
    if (more_addresses != NULL) {
        /* A prefix on the loopback device makes every address in it ours. */
        set_address(fd, "lo:1", SIOCSIFADDR, more_addresses);
        set_address(fd, "lo:1", SIOCSIFNETMASK, "255.255.255.0");
    }
    set_address(fd, DEVICE, SIOCSIFADDR, address);
    set_address(fd, DEVICE, SIOCSIFNETMASK, "255.255.0.0");
    bring_up(fd, DEVICE);
    (void)close(fd);
    return end;
}

/* Takes what was sent at one end. */
static void line_take(struct line *line, int device_fd, int64_t now_ns, int64_t delay_ns)
{
    static unsigned char excess[PACKET_SIZE];
    for (;;) {
        bool full = line->count == PACKETS_MAX;
        struct packet *packet = &line->packets[(line->first + line->count) % PACKETS_MAX];
        ssize_t len = read(device_fd, full ? excess : packet->data, PACKET_SIZE);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (len <= 0)
            fail(1, "reading a device");
        if (full) {
            line->dropped++;
            continue;
        }
        packet->len = (size_t)len;
        packet->due_ns = now_ns + delay_ns;
        line->count++;
    }
}

/* Hands over what is due at the other end. A packet that the device does not
 * take is lost, as on any wire, and counted. */
static void line_give(struct line *line, int device_fd, int64_t now_ns)
{
    while (line->count > 0 && line->packets[line->first].due_ns <= now_ns) {
        const struct packet *packet = &line->packets[line->first];
        if (write(device_fd, packet->data, packet->len) != (ssize_t)packet->len)
            line->dropped++;
        line->first = (line->first + 1) % PACKETS_MAX;
        line->count--;
    }
}

static int64_t line_due_ns(const struct line *line)
{
    return line->count > 0 ? line->packets[line->first].due_ns : INT64_MAX;
}

static void carry(const struct end *server, const struct end *client, int64_t delay_ns,
                  struct line *to_server, struct line *to_client)
{
    struct pollfd fds[] = {
        {.fd = server->device_fd, .events = POLLIN},
        {.fd = client->device_fd, .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    for (;;) {
        int64_t now_ns = clock_monotonic_ns();
        int64_t due_ns = line_due_ns(to_server);
        if (line_due_ns(to_client) < due_ns)
            due_ns = line_due_ns(to_client);
        if (due_ns > now_ns + NS_PER_S)
            due_ns = now_ns + NS_PER_S;
        int64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
        struct timespec timeout = {.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
        if (ppoll(fds, ARRAY_COUNT(fds), &timeout, NULL) < 0 && errno != EINTR)
            fail(1, "poll");
        now_ns = clock_monotonic_ns();
        line_take(to_client, server->device_fd, now_ns, delay_ns);
        line_take(to_server, client->device_fd, now_ns, delay_ns);
        line_give(to_client, client->device_fd, now_ns);
        line_give(to_server, server->device_fd, now_ns);
        char ignored[64];
        if (fds[2].revents != 0 && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
            return;
    }
}

int main(int argc, char **argv)
{
    char *end_of_number = NULL;
    double delay_ms = argc == 2 ? strtod(argv[1], &end_of_number) : -1;
    if (end_of_number == NULL || *end_of_number != '\0' || !(delay_ms >= 0 && delay_ms <= 1000)) {
        (void)fprintf(stderr, "usage: wire DELAY_MS (0 to 1000, in each direction)\n");
        return EXIT_USAGE;
    }
    struct line to_server = {.packets = calloc(PACKETS_MAX, sizeof(struct packet))};
    struct line to_client = {.packets = calloc(PACKETS_MAX, sizeof(struct packet))};
    if (to_server.packets == NULL || to_client.packets == NULL)
        fail(1, "memory");
    struct end server = make_end(SERVER_ADDRESS, NULL);
    struct end client = make_end(CLIENT_ADDRESS, CLIENT_SOURCE);
    (void)printf("{\"server\": \"/proc/%d/fd/%d\", \"client\": \"/proc/%d/fd/%d\", "
                 "\"address\": \"" SERVER_ADDRESS "\", \"source\": \"" CLIENT_SOURCE "\"}\n",
                 (int)getpid(), server.namespace_fd, (int)getpid(), client.namespace_fd);
    (void)fflush(stdout);
    carry(&server, &client, (int64_t)(delay_ms * (double)NS_PER_MS), &to_server, &to_client);
    (void)printf("{\"dropped\": %lu}\n", (unsigned long)(to_server.dropped + to_client.dropped));
    free(to_server.packets);
    free(to_client.packets);
    return 0;
}
