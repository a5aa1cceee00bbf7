/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn_deadline - the deadlines of connections, and what happens at them.
 */
#include "worker/conn_private.h"

#include <stddef.h>

/* ---- putting off ---- */

static void arm_wheel_timer(struct conns *set, int64_t at_ns)
{
    int64_t in_ns = at_ns - set->loop->now_ns;
    if (in_ns < 0)
        in_ns = 0;
    struct timeval tv = {in_ns / 1000000000, in_ns % 1000000000 / 1000};
    set->armed_ns = at_ns;
    (void)evtimer_add(&set->wheel_timer, &tv);
}

/* The timer of a connection is moved only when it must come up earlier than
 * it would; when it comes up too early it is put in again. So a keep-alive
 * connection touches the wheel once per time-out, not once per request. */
void conn_set_deadline(struct conn *conn, int64_t at_ns)
{
    struct conns *set = conn->set;
    conn->deadline_ns = at_ns;
    if (wheel_covers(&conn->timer, at_ns))
        return;
    wheel_put(&set->wheel, &conn->timer, at_ns);
    int64_t comes_up_ns = conn->timer.tick << WHEEL_TICK_BITS;
    if (comes_up_ns < set->armed_ns)
        arm_wheel_timer(set, comes_up_ns);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void conn_choose_deadline(struct conn *conn)
{
    const struct conns *set = conn->set;
    int64_t now_ns = set->loop->now_ns;
    int64_t request_ns = conn->started_ns + set->request_timeout_ns;
    switch ((enum conn_state)conn->state) {
    case CONN_IDLE: {
        bool fresh = conn->request_count == 0;
        int64_t idle_ns = fresh ? set->header_timeout_ns : set->keepalive_timeout_ns;
        if (set->draining)
            idle_ns = earlier(idle_ns, set->idle_grace_ns);
        conn_set_deadline(conn, now_ns + idle_ns);
        break;
    }
    case CONN_HEAD:
        conn_set_deadline(conn, earlier(conn->started_ns + set->header_timeout_ns, request_ns));
        break;
    case CONN_BODY:
        conn_set_deadline(conn, earlier(now_ns + set->body_timeout_ns, request_ns));
        break;
    case CONN_WAITING:
        conn_set_deadline(conn, request_ns);
        break;
    case CONN_WRITING:
    case CONN_YIELDING:
        conn_set_deadline(conn, now_ns + set->write_timeout_ns);
        break;
    case CONN_LINGERING:
        conn_set_deadline(conn, now_ns + conn->linger_ms * INT64_C(1000000));
        break;
    case CONN_CLOSED:
        break;
    }
}

/* ---- deadlines that have come ---- */

static void time_out(struct conn *conn, enum metric_counter counter, int status,
                     const char *message)
{
    conn->set->metrics->counter[counter]++;
    if (message == NULL) {
        conn_close(conn);
        return;
    }
    conns_make_room(conn->set);
    exchange_fail(conn, status, message);
    conn_process(conn, NULL, 0);
}

static void on_deadline(struct conn *conn)
{
    struct conns *set = conn->set;
    bool whole = set->loop->now_ns >= conn->started_ns + set->request_timeout_ns;
    switch ((enum conn_state)conn->state) {
    case CONN_IDLE:
        /* A request may have come in since the loop last looked; it is not too late. */
        if (conn_read(conn))
            return;
        if (set->draining)
            conn_end_idle(conn);
        else
            time_out(conn,
                     conn->request_count == 0 ? METRIC_TIMEOUT_HEADER : METRIC_TIMEOUT_KEEPALIVE, 0,
                     NULL);
        break;
    case CONN_HEAD:
        time_out(conn, METRIC_TIMEOUT_HEADER, 408, "the head of the request did not come in time");
        break;
    case CONN_BODY:
        time_out(conn, whole ? METRIC_TIMEOUT_REQUEST : METRIC_TIMEOUT_BODY, 408,
                 "the body of the request did not come in time");
        break;
    case CONN_WAITING:
        conn->wait->on_cancel(conn->wait);
        conn->wait = NULL;
        time_out(conn, METRIC_TIMEOUT_REQUEST, 503, "the answer could not be made in time");
        break;
    case CONN_WRITING:
        if (!conn_extend_write(conn))
            time_out(conn, METRIC_TIMEOUT_WRITE, 0, NULL);
        break;
    case CONN_YIELDING: /* no room in the socket: a case for WRITING and its rules */
        conn_take_turn(conn);
        break;
    case CONN_LINGERING:
        conn_close(conn);
        break;
    case CONN_CLOSED:
        break;
    }
}

static void on_due(void *context, struct wheel_node *node)
{
    struct conns *set = context;
    struct conn *conn = (void *)((char *)node - offsetof(struct conn, timer));
    if (conn->queued || set->loop->now_ns < conn->deadline_ns)
        wheel_put(&set->wheel, node, conn->deadline_ns);
    else
        on_deadline(conn);
}

static void on_wheel_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct conns *set = context;
    loop_enter(set->loop);
    /* What on_due puts in is armed below, all at once. */
    set->armed_ns = 0;
    wheel_advance(&set->wheel, set->loop->now_ns, on_due, set);
    set->armed_ns = INT64_MAX;
    int64_t next_ns = wheel_next_ns(&set->wheel);
    if (next_ns >= 0)
        arm_wheel_timer(set, next_ns);
    conns_reap(set);
}

void conns_init_deadlines(struct conns *set)
{
    set->armed_ns = INT64_MAX;
    wheel_init(&set->wheel, clock_monotonic_ns());
    (void)evtimer_assign(&set->wheel_timer, set->loop->base, on_wheel_timer, set);
}
