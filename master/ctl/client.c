/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client - one request to the management server, over its Unix socket or TCP.
 */
#include "master/ctl/client.h"

#include "common/buf.h"
#include "common/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the URL ---- */

bool client_parse_url(struct client *client, const char *url, char *error)
{
    static const char scheme[] = "http://";
    if (strncasecmp(url, scheme, sizeof(scheme) - 1) != 0) {
        snprintf(error, CLIENT_ERROR_SIZE, "%s: only http:// is spoken here", url);
        return false;
    }
    const char *host = url + sizeof(scheme) - 1;
    bool brackets = *host == '[';
    host += brackets ? 1 : 0;
    size_t host_len = strcspn(host, brackets ? "]" : ":/");
    const char *rest = host + host_len;
    if (brackets && *rest == ']')
        rest++;
    const char *port = "9001";
    size_t port_len = 4;
    if (*rest == ':') {
        port = rest + 1;
        port_len = strspn(port, "0123456789");
        rest = port + port_len;
    }
    size_t prefix_len = strlen(rest);
    if (prefix_len > 0 && rest[prefix_len - 1] == '/')
        prefix_len--;
    if (host_len == 0 || host_len >= sizeof(client->host) || port_len == 0 ||
        port_len >= sizeof(client->port) || (*rest != '\0' && *rest != '/') ||
        prefix_len >= sizeof(client->prefix)) {
        snprintf(error, CLIENT_ERROR_SIZE, "%s: not a URL such as http://127.0.0.1:9001", url);
        return false;
    }
    memcpy(client->host, host, host_len);
    client->host[host_len] = '\0';
    memcpy(client->port, port, port_len);
    client->port[port_len] = '\0';
    memcpy(client->prefix, rest, prefix_len);
    client->prefix[prefix_len] = '\0';
    return true;
}

/* ---- the connection ---- */

/* 0, or -errno; -ETIMEDOUT at the deadline. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        if (left_ms <= 0)
            return -ETIMEDOUT;
        struct pollfd poll_fd = {.fd = fd, .events = events};
        int ready = poll(&poll_fd, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

/* A connected, non-blocking socket, or -errno. */
static int connect_to(const struct sockaddr *address, socklen_t size, int64_t deadline_ms)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int failed = connect(fd, address, size) == 0 ? 0 : -errno;
    if (failed == -EINPROGRESS) {
        socklen_t failed_size = sizeof(failed);
        failed = wait_for(fd, POLLOUT, deadline_ms);
        if (failed == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &failed_size) == 0)
            failed = -failed;
    }
    if (failed == 0)
        return fd;
    close(fd);
    return failed;
}

static int connect_unix(const char *path, int64_t deadline_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    for (;;) {
        int fd = connect_to((const struct sockaddr *)&address, sizeof(address), deadline_ms);
        /* A full queue of a busy server; it cannot be waited for with poll(2). */
        if (fd != -EAGAIN || clock_monotonic_ms() >= deadline_ms)
            return fd;
        (void)poll(NULL, 0, 20);
    }
}

static int connect_tcp(const struct client *client, int64_t deadline_ms, const char **why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(client->host, client->port, &hints, &found);
    if (error != 0) {
        *why = gai_strerror(error);
        return -ENOENT;
    }
    int fd = -ENOENT;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = connect_to(at->ai_addr, at->ai_addrlen, deadline_ms);
    freeaddrinfo(found);
    return fd;
}

/* ---- the exchange ---- */

static int send_all(int fd, const struct buf *request, int64_t deadline_ms)
{
    size_t sent = 0;
    while (sent < request->len) {
        ssize_t count = send(fd, request->ptr + sent, request->len - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += (size_t)count;
            continue;
        }
        int failed = errno == EAGAIN ? wait_for(fd, POLLOUT, deadline_ms) : -errno;
        if (failed != 0 && failed != -EINTR)
            return failed;
    }
    return 0;
}

static int receive_all(int fd, struct buf *out, int64_t deadline_ms)
{
    for (;;) {
        enum { PIECE = 64 * 1024 };
        char *at = buf_reserve(out, PIECE);
        if (at == NULL)
            return -EFBIG;
        ssize_t count = recv(fd, at, PIECE, 0);
        if (count == 0)
            return 0;
        if (count > 0) {
            out->len += (size_t)count;
            continue;
        }
        int failed = errno == EAGAIN ? wait_for(fd, POLLIN, deadline_ms) : -errno;
        if (failed != 0 && failed != -EINTR)
            return failed;
    }
}

static void build_request(const struct client *client, const char *method, const char *path,
                          const char *body, struct buf *out)
{
    bool brackets = strchr(client->host, ':') != NULL;
    buf_printf(out, "%s %s%s HTTP/1.0\r\n", method, client->prefix, path);
    if (client->host[0] != '\0')
        buf_printf(out, "Host: %s%s%s:%s\r\n", brackets ? "[" : "", client->host,
                   brackets ? "]" : "", client->port);
    else
        buf_append_str(out, "Host: localhost\r\n");
    buf_append_str(out, "User-Agent: musterctl\r\nConnection: close\r\n");
    if (client->token != NULL)
        buf_printf(out, "Authorization: Bearer %s\r\n", client->token);
    if (body != NULL)
        buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_printf(out, "\r\n%s", body != NULL ? body : "");
}

/* The value of Content-Length in a head, -1 when there is none. */
static long long content_length(const char *head, const char *end)
{
    static const char name[] = "\r\nContent-Length:";
    size_t len = sizeof(name) - 1;
    for (const char *at = head; at + len < end; at++)
        if (strncasecmp(at, name, len) == 0)
            return strtoll(at + len, NULL, 10);
    return -1;
}

static bool parse_response(const struct buf *raw, struct client_response *out)
{
    static const char version[] = "HTTP/1.";
    const char *end = raw->len > 0 ? memmem(raw->ptr, raw->len, "\r\n\r\n", 4) : NULL;
    if (end == NULL || raw->len < 12 || memcmp(raw->ptr, version, sizeof(version) - 1) != 0)
        return false;
    const char *status = raw->ptr + 9;
    if (!isdigit((unsigned char)status[0]) || !isdigit((unsigned char)status[1]) ||
        !isdigit((unsigned char)status[2]))
        return false;
    const char *body = end + 4;
    size_t body_len = raw->len - (size_t)(body - raw->ptr);
    long long promised = content_length(raw->ptr, end + 2);
    if (promised >= 0 && (size_t)promised != body_len)
        return false;
    out->status = (status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0');
    out->body = strndup(body, body_len);
    out->body_len = body_len;
    return out->body != NULL;
}

static void name_server(const struct client *client, char *out, size_t size)
{
    if (client->host[0] != '\0')
        snprintf(out, size, "%s port %s", client->host, client->port);
    else
        snprintf(out, size, "%s", client->socket_path);
}

enum client_result client_request(const struct client *client, const char *method, const char *path,
                                  const char *body, int64_t timeout_ms, struct client_response *out,
                                  char *error)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    enum client_result result = CLIENT_UNREACHABLE;
    const char *why = NULL;
    struct buf request, response;
    char server[300];
    name_server(client, server, sizeof(server));
    buf_init(&request, 0);
    buf_init(&response, 0);

    int fd = client->host[0] != '\0' ? connect_tcp(client, deadline_ms, &why)
                                     : connect_unix(client->socket_path, deadline_ms);
    if (fd < 0) {
        snprintf(error, CLIENT_ERROR_SIZE, "cannot connect to %s: %s", server,
                 why != NULL ? why : strerror(-fd));
        goto out;
    }
    build_request(client, method, path, body, &request);
    int failed = buf_failed(&request) ? -ENOMEM : send_all(fd, &request, deadline_ms);
    if (failed == 0)
        failed = receive_all(fd, &response, deadline_ms);
    close(fd);
    if (failed == -ETIMEDOUT) {
        result = CLIENT_TIMEOUT;
        snprintf(error, CLIENT_ERROR_SIZE, "no answer from %s in %.3g s", server,
                 (double)timeout_ms / 1e3);
    } else if (failed != 0) {
        result = CLIENT_BROKEN;
        snprintf(error, CLIENT_ERROR_SIZE, "the connection to %s broke: %s", server,
                 strerror(-failed));
    } else if (!parse_response(&response, out)) {
        result = CLIENT_BROKEN;
        snprintf(error, CLIENT_ERROR_SIZE, "%s sent no complete HTTP answer", server);
    } else {
        result = CLIENT_OK;
    }
out:
    buf_fini(&request);
    buf_fini(&response);
    return result;
}

void client_response_fini(struct client_response *response)
{
    free(response->body);
    *response = (struct client_response){0};
}
