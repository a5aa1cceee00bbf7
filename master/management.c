/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management - the HTTP server of the management port and the Unix socket:
 * its daemons, driven by the loop of the master.
 *
 * libmicrohttpd keeps its descriptors in an epoll set of its own. That set is
 * one event of our loop; its next deadline, if there is one, is one timer. So
 * nothing wakes the master while nobody is connected.
 */
#include "master/management.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/management_private.h"

#include <event2/event.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned count_connections(const struct endpoint *endpoint)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(endpoint->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL ? info->num_connections : 0;
}

/* At the limit of connections libmicrohttpd takes the listening socket out of
 * its epoll set, and puts it back at the beginning of a run. When the last
 * connection ended in this run nothing would ever cause the next one. */
static void run_daemon(struct endpoint *endpoint)
{
    unsigned before;
    do {
        before = count_connections(endpoint);
        (void)MHD_run(endpoint->daemon);
    } while (count_connections(endpoint) < before);
}

static void run_once(struct endpoint *endpoint)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    run_daemon(endpoint);
    if (MHD_get_timeout(endpoint->daemon, &wait_ms) == MHD_YES) {
        struct timeval delay = {.tv_sec = (time_t)(wait_ms / 1000),
                                .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000)};
        (void)evtimer_add(endpoint->timer, &delay);
    } else {
        (void)evtimer_del(endpoint->timer);
    }
}

static void on_endpoint(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    run_once(context);
}

void endpoint_wake(struct endpoint *endpoint)
{
    const struct timeval now = {0};
    if (!endpoint->management->closing)
        (void)evtimer_add(endpoint->timer, &now);
}

__attribute__((format(printf, 2, 0))) static void on_mhd_log(void *context, const char *format,
                                                             va_list arguments)
{
    char text[256];
    (void)context;
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_debug("management server", LOG_STR("says", text));
}

/* Takes over `fd`. */
static bool endpoint_start(struct endpoint *endpoint, struct management *management, int fd)
{
    unsigned limit = (unsigned)management->config->management_max_connections;
    endpoint->management = management;
    endpoint->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        request_on_access, endpoint, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, request_on_completed, endpoint,
        MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)MANAGEMENT_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)MANAGEMENT_CONNECTION_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (endpoint->daemon == NULL) {
        (void)close(fd);
        return false;
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(endpoint->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info != NULL && info->epoll_fd >= 0);
    endpoint->io =
        event_new(management->base, info->epoll_fd, EV_READ | EV_PERSIST, on_endpoint, endpoint);
    endpoint->timer = evtimer_new(management->base, on_endpoint, endpoint);
    return endpoint->io != NULL && endpoint->timer != NULL && event_add(endpoint->io, NULL) == 0;
}

static void endpoint_stop(struct endpoint *endpoint)
{
    if (endpoint->io != NULL)
        event_free(endpoint->io);
    if (endpoint->timer != NULL)
        event_free(endpoint->timer);
    endpoint->io = NULL;
    endpoint->timer = NULL;
    if (endpoint->daemon != NULL)
        MHD_stop_daemon(endpoint->daemon); /* closes the listening socket */
    endpoint->daemon = NULL;
}

static bool serves_tcp(const struct config *config)
{
    return config->management_enabled && config->management_address[0] != '\0';
}

static bool start_tcp(struct management *management, char *error, size_t error_size)
{
    const struct config *config = management->config;
    struct management_bound bound;
    char reason[200];
    if (!management_bind_tcp(config->management_address, config->management_port, &bound, reason,
                             sizeof(reason))) {
        snprintf(error, error_size,
                 "management: cannot listen on %s; stop it, or choose another port (management { "
                 "port = ... }, or the variable MANAGEMENT_PORT)",
                 reason);
        return false;
    }
    management->tcp.loopback = bound.loopback;
    if (!bound.loopback && config->management_token[0] == '\0') {
        (void)close(bound.fd);
        snprintf(error, error_size,
                 "management: %s is not a loopback address, so a token is needed: set management "
                 "{ token_file = ... } or the variable MANAGEMENT_TOKEN",
                 config->management_address);
        return false;
    }
    if (!endpoint_start(&management->tcp, management, bound.fd)) {
        snprintf(error, error_size,
                 "management: the server cannot be started: out of memory or "
                 "descriptors");
        return false;
    }
    return true;
}

static bool start_local(struct management *management, char *error, size_t error_size)
{
    char reason[256];
    char path[512];
    snprintf(path, sizeof(path), "%s/muster.sock", management->cluster->run_dir);
    int fd = management_bind_unix(path, reason, sizeof(reason));
    if (fd < 0) {
        snprintf(error, error_size, "management: cannot listen on %s", reason);
        return false;
    }
    snprintf(management->socket_path, sizeof(management->socket_path), "%.107s", path);
    management->local.is_unix = true;
    if (!endpoint_start(&management->local, management, fd)) {
        snprintf(error, error_size,
                 "management: the server cannot be started: out of memory or "
                 "descriptors");
        return false;
    }
    return true;
}

struct management *management_new(struct event_base *base, const struct cluster *cluster,
                                  struct master *master, char *error, size_t error_size)
{
    struct management *management = calloc(1, sizeof(*management));
    if (management == NULL) {
        snprintf(error, error_size, "management: out of memory");
        return NULL;
    }
    management->base = base;
    management->cluster = cluster;
    management->master = master;
    management->config = cluster->config;
    management->refusal_logged_ms = INT64_MIN / 2;
    TAILQ_INIT(&management->changes);
    if (!start_local(management, error, error_size) ||
        (serves_tcp(management->config) && !start_tcp(management, error, error_size))) {
        management_free(&management);
        return NULL;
    }
    return management;
}

void management_reconfigure(struct management *management, const struct config *config)
{
    management->config = config;
}

/* The loop has ended or is about to: what is to be sent must go out here. */
static void flush(struct management *management)
{
    struct endpoint *endpoints[] = {&management->tcp, &management->local};
    int64_t deadline_ms = clock_monotonic_ms() + MANAGEMENT_FLUSH_MS;
    while (management->request_count > 0 && clock_monotonic_ms() < deadline_ms) {
        struct pollfd polls[ARRAY_COUNT(endpoints)];
        nfds_t count = 0;
        for (size_t i = 0; i < ARRAY_COUNT(endpoints); i++) {
            if (endpoints[i]->daemon == NULL)
                continue;
            (void)MHD_run(endpoints[i]->daemon);
            const union MHD_DaemonInfo *info =
                MHD_get_daemon_info(endpoints[i]->daemon, MHD_DAEMON_INFO_EPOLL_FD);
            polls[count++] = (struct pollfd){.fd = info->epoll_fd, .events = POLLIN};
        }
        if (management->request_count > 0)
            (void)poll(polls, count, 5);
    }
}

void management_free(struct management **management_in)
{
    struct management *management = *management_in;
    if (management == NULL)
        return;
    management->closing = true;
    change_abandon_all(management);
    flush(management);
    endpoint_stop(&management->tcp);
    endpoint_stop(&management->local);
    if (management->socket_path[0] != '\0')
        (void)unlink(management->socket_path);
    free(management);
    *management_in = NULL;
}
