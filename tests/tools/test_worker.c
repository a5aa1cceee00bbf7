/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_worker - muster-worker with routes that misbehave on request.
 *
 *   /test/slow?ms=N   computes for N ms of processor time, then answers
 *   /test/stall?ms=N  sleeps for N ms, then answers
 *   /test/spin        computes for ever
 *   /test/crash       dies of SIGSEGV
 *   /test/delay?ms=N  answers after N ms and serves others meanwhile
 *
 * All but the last one keep the loop, and with it everybody else on this
 * worker, waiting. The answer is "done". Set as `worker_path`.
 */
#include "common/check.h"
#include "worker/exchange.h"
#include "worker/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_MS = 60 * 60 * 1000 };

/* Not static: a backtrace is to name them. */
void test_slow(int64_t ms);
void test_stall(int64_t ms);
void test_spin(void);

static struct loop *worker_loop;

/* The number behind "ms=" in the query; 0 without. */
static int64_t wanted_ms(const struct http_request *request, const char *bytes)
{
    struct slice target = http_slice(bytes, request->target);
    char text[256];
    size_t len = target.len < sizeof(text) - 1 ? target.len : sizeof(text) - 1;
    memcpy(text, target.ptr, len);
    text[len] = '\0';
    const char *found = strstr(text, "?ms=");
    int64_t ms = found != NULL ? strtol(found + 4, NULL, 10) : 0;
    return ms < 0 ? 0 : ms > MAX_MS ? MAX_MS : ms;
}

static struct reply ok(void)
{
    return (struct reply){
        .status = 200, .type = SLICE_LITERAL("text/plain"), .body = SLICE_LITERAL("done\n")};
}

static void answer_ok(struct conn *conn)
{
    struct reply reply = ok();
    exchange_answer(conn, &reply);
}

/* ---- what blocks the loop ---- */

static int64_t processor_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

__attribute__((noinline)) void test_slow(int64_t ms)
{
    int64_t end = processor_ns() + ms * 1000000;
    while (processor_ns() < end)
        ;
}

/* To the end also when a signal comes. */
__attribute__((noinline)) void test_stall(int64_t ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

__attribute__((noinline, noreturn)) void test_spin(void)
{
    for (volatile uint64_t turns = 0;; turns++)
        ;
}

static void on_slow(struct conn *conn, const struct http_request *request, const char *bytes,
                    void *context)
{
    (void)context;
    test_slow(wanted_ms(request, bytes));
    answer_ok(conn);
}

static void on_stall(struct conn *conn, const struct http_request *request, const char *bytes,
                     void *context)
{
    (void)context;
    test_stall(wanted_ms(request, bytes));
    answer_ok(conn);
}

static void on_spin(struct conn *conn, const struct http_request *request, const char *bytes,
                    void *context)
{
    (void)conn;
    (void)request;
    (void)bytes;
    (void)context;
    test_spin();
}

static void on_crash(struct conn *conn, const struct http_request *request, const char *bytes,
                     void *context)
{
    (void)request;
    (void)bytes;
    (void)context;
    (void)raise(SIGSEGV);
    answer_ok(conn);
}

/* ---- what does not ---- */

struct delay {
    struct exchange_wait wait;
    struct event timer;
};

static void on_delay_over(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct delay *delay = context;
    struct reply reply = ok();
    loop_enter(worker_loop);
    exchange_resume(&delay->wait, &reply);
    free(delay);
}

static void on_delay_cancel(struct exchange_wait *wait)
{
    struct delay *delay = (void *)((char *)wait - offsetof(struct delay, wait));
    (void)event_del(&delay->timer);
    free(delay);
}

static void on_delay(struct conn *conn, const struct http_request *request, const char *bytes,
                     void *context)
{
    (void)context;
    int64_t ms = wanted_ms(request, bytes);
    const struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    struct delay *delay = calloc(1, sizeof(*delay));
    if (delay != NULL)
        (void)evtimer_assign(&delay->timer, worker_loop->base, on_delay_over, delay);
    if (delay == NULL || event_add(&delay->timer, &tv) != 0) {
        free(delay);
        exchange_answer_error(conn, 503, "out of memory", SLICE_LITERAL(""));
        return;
    }
    delay->wait.on_cancel = on_delay_cancel;
    exchange_suspend(conn, &delay->wait);
}

static int add_routes(struct router *router, struct loop *loop)
{
    static const struct {
        const char *path;
        uint32_t flags;
        route_handler *handler;
    } routes[] = {
        {"/test/slow", 0, on_slow},   {"/test/stall", 0, on_stall},
        {"/test/spin", 0, on_spin},   {"/test/delay", ROUTE_LATER, on_delay},
        {"/test/crash", 0, on_crash},
    };
    worker_loop = loop;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        int err = router_add(router, slice_from_str(routes[i].path), ROUTE_READ, routes[i].flags,
                             routes[i].handler, NULL);
        if (err != 0)
            return err;
    }
    return 0;
}

int main(int argc, char **argv)
{
    return worker_main(argc, argv, add_routes);
}
