/* SPDX-License-Identifier: BSD-2-Clause
 *
 * link - the worker's end of the control socket.
 */
#include "worker/link.h"

#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { RETRY_MS = 250, RETRY_SPREAD_MS = 50, MESSAGES_PER_TURN = 64 };

struct link {
    struct loop *loop;
    const char *path;
    const struct link_callbacks *callbacks;
    void *context;
    int fd; /* -1: not connected */
    struct event readable, writable, retry;
    bool waits_to_write;
    struct ipc_queue queue;
    struct buf message;
    unsigned random;
    struct ipc_message received;
    char scratch[CONTRACT_MAX_MESSAGE];
};

static void on_retry(evutil_socket_t fd, short what, void *context);
static void on_readable(evutil_socket_t fd, short what, void *context);
static void on_writable(evutil_socket_t fd, short what, void *context);

struct link *link_new(struct loop *loop, const char *path, const struct link_callbacks *callbacks,
                      void *context)
{
    /* Not calloc and not cleared: most of the receive buffer is never touched. */
    struct link *link = malloc(sizeof(*link));
    if (link == NULL)
        return NULL;
    link->loop = loop;
    link->path = path;
    link->callbacks = callbacks;
    link->context = context;
    link->fd = -1;
    link->waits_to_write = false;
    link->queue = (struct ipc_queue){0};
    link->random = (unsigned)getpid();
    buf_init(&link->message, CONTRACT_MAX_MESSAGE);
    (void)evtimer_assign(&link->retry, loop->base, on_retry, link);
    return link;
}

static void disconnect(struct link *link)
{
    if (link->fd < 0)
        return;
    (void)event_del(&link->readable);
    if (link->waits_to_write)
        (void)event_del(&link->writable);
    link->waits_to_write = false;
    (void)close(link->fd);
    link->fd = -1;
    ipc_queue_fini(&link->queue);
}

void link_free(struct link **link_ptr)
{
    struct link *link = *link_ptr;
    if (link == NULL)
        return;
    *link_ptr = NULL;
    disconnect(link);
    (void)evtimer_del(&link->retry);
    buf_fini(&link->message);
    free(link);
}

static void retry_later(struct link *link)
{
    link->random = link->random * 1664525U + 1013904223U;
    int ms = RETRY_MS - RETRY_SPREAD_MS + (int)((link->random >> 16) % (2 * RETRY_SPREAD_MS));
    const struct timeval wait = {0, ms * 1000};
    (void)evtimer_add(&link->retry, &wait);
}

static void lose(struct link *link, int err)
{
    disconnect(link);
    retry_later(link);
    link->callbacks->on_disconnect(link->context, err);
}

static int try_connect(struct link *link)
{
    int fd = ipc_connect(link->path);
    if (fd < 0)
        return fd;
    link->fd = fd;
    (void)event_assign(&link->readable, link->loop->base, fd, EV_READ | EV_PERSIST, on_readable,
                       link);
    (void)event_assign(&link->writable, link->loop->base, fd, EV_WRITE | EV_PERSIST, on_writable,
                       link);
    if (event_add(&link->readable, NULL) != 0) {
        (void)close(fd);
        link->fd = -1;
        return -ENOMEM;
    }
    link->callbacks->on_connect(link->context);
    return 0;
}

int link_start(struct link *link)
{
    int err = try_connect(link);
    if (err != 0)
        retry_later(link);
    return err;
}

bool link_is_connected(const struct link *link)
{
    return link->fd >= 0;
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct link *link = context;
    loop_enter(link->loop);
    if (link->fd < 0 && try_connect(link) != 0)
        retry_later(link);
}

/* ---- sending ---- */

struct buf *link_message(struct link *link)
{
    return &link->message;
}

int link_send(struct link *link)
{
    return link_send_fds(link, NULL, 0);
}

int link_send_fds(struct link *link, const int *fds, int fd_count)
{
    if (link->fd < 0)
        return -ENOTCONN;
    int result = ipc_queue_send(&link->queue, link->fd, &link->message, fds, fd_count);
    if (result == 1 && !link->waits_to_write) {
        link->waits_to_write = event_add(&link->writable, NULL) == 0;
        result = 0;
    }
    /* A broken connection is seen by on_readable, too; there is one place that deals with it. */
    return result < 0 ? result : 0;
}

bool link_is_backed_up(const struct link *link)
{
    return link->queue.count > 0;
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct link *link = context;
    loop_enter(link->loop);
    int result = ipc_queue_flush(&link->queue, link->fd);
    if (result < 0) {
        lose(link, result);
    } else if (result == 0) {
        (void)event_del(&link->writable);
        link->waits_to_write = false;
    }
}

void link_flush(struct link *link, int timeout_ms)
{
    int64_t end_ms = clock_monotonic_ms() + timeout_ms;
    while (link->fd >= 0 && ipc_queue_flush(&link->queue, link->fd) == 1) {
        int64_t left_ms = end_ms - clock_monotonic_ms();
        struct pollfd poll_fd = {.fd = link->fd, .events = POLLOUT};
        if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) == 0)
            return;
    }
}

/* ---- receiving ---- */

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct link *link = context;
    loop_enter(link->loop);
    for (int i = 0; i < MESSAGES_PER_TURN && link->fd == fd; i++) {
        int result = ipc_receive(link->fd, link->scratch, &link->received);
        if (result == -EAGAIN)
            return;
        if (result <= 0) {
            lose(link, result == 0 ? -EPIPE : result);
            return;
        }
        link->callbacks->on_message(link->context, &link->received);
        ipc_close_fds(&link->received);
    }
}
