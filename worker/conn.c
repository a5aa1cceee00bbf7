/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn - the life of a connection: input, states, the end.
 */
#include "worker/conn.h"

#include "common/log.h"
#include "worker/conn_private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_event(evutil_socket_t fd, short what, void *context);

#define CONN_STATE_NAME(name, text, list) [CONN_##name] = (text),
static const char *const state_names[] = {CONN_STATES(CONN_STATE_NAME)};
#define CONN_STATE_LIST(name, text, list) [CONN_##name] = CONN_LIST_##list,
static const enum conn_list state_lists[] = {CONN_STATES(CONN_STATE_LIST)};

#if defined(__SANITIZE_ADDRESS__)
enum { MAX_SPARE = 0 }; /* so that a use after close is found */
#else
enum { MAX_SPARE = 512 };
#endif

/* ---- states ---- */

void conn_enter(struct conn *conn, enum conn_state state)
{
    struct conns *set = conn->set;
    enum conn_state before = (enum conn_state)conn->state;
    CHECK(before != CONN_CLOSED && before != state);
    log_debug("connection", LOG_INT("fd", conn->fd), LOG_STR("from", state_names[before]),
              LOG_STR("to", state_names[state]));
    set->state_count[before]--;
    set->state_count[state]++;
    if (state_lists[before] != state_lists[state]) {
        TAILQ_REMOVE(&set->list[state_lists[before]], conn, link);
        TAILQ_INSERT_TAIL(&set->list[state_lists[state]], conn, link);
    }
    conn->state = (uint8_t)state;
}

static void watch(struct conn *conn, short what)
{
    if (conn->watched == what)
        return;
    if (conn->watched != 0)
        (void)event_del(&conn->event);
    conn->watched = (uint8_t)what;
    if (what == 0)
        return;
    (void)event_assign(&conn->event, conn->set->loop->base, conn->fd, (short)(what | EV_PERSIST),
                       on_event, conn);
    if (event_add(&conn->event, NULL) != 0) {
        conn->watched = 0;
        conn_close(conn); /* no memory for it in the kernel: it could never be woken */
    }
}

/* ---- closing ---- */

void conn_close(struct conn *conn)
{
    struct conns *set = conn->set;
    if (conn->state == CONN_CLOSED)
        return;
    if (conn->wait != NULL) {
        set->metrics->counter[METRIC_HTTP_ABORTED]++;
        conn->wait->on_cancel(conn->wait);
        conn->wait = NULL;
    } else if (conn->state == CONN_BODY) {
        set->metrics->counter[METRIC_HTTP_ABORTED]++;
    }
    if (conn->watched != 0)
        (void)event_del(&conn->event);
    output_discard(conn);
    pool_return(&set->pool, &conn->in);
    free(conn->note);
    conn->note = NULL;
    wheel_remove(&set->wheel, &conn->timer);
    (void)close(conn->fd);
    conn_enter(conn, CONN_CLOSED);
    TAILQ_REMOVE(&set->list[CONN_LIST_CLOSING], conn, link);
    TAILQ_INSERT_TAIL(&set->dead, conn, link);
    set->count--;
    set->metrics->counter[METRIC_CONNECTIONS_CLOSED]++;
    set->parts.on_closed(set->parts.context);
}

/* Callers up the stack may still hold pointers to what was closed, until here. */
void conns_reap(struct conns *set)
{
    struct conn *conn;
    while ((conn = TAILQ_FIRST(&set->dead)) != NULL) {
        TAILQ_REMOVE(&set->dead, conn, link);
        set->state_count[CONN_CLOSED]--;
        if (set->spare_count < MAX_SPARE) {
            TAILQ_INSERT_HEAD(&set->spare, conn, link);
            set->spare_count++;
        } else {
            free(conn);
        }
    }
}

/* ---- deadlines ---- */

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
static void set_deadline(struct conn *conn, int64_t at_ns)
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

static void choose_deadline(struct conn *conn)
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
        set_deadline(conn, now_ns + idle_ns);
        break;
    }
    case CONN_HEAD:
        set_deadline(conn, earlier(conn->started_ns + set->header_timeout_ns, request_ns));
        break;
    case CONN_BODY:
        set_deadline(conn, earlier(now_ns + set->body_timeout_ns, request_ns));
        break;
    case CONN_WAITING:
        set_deadline(conn, request_ns);
        break;
    case CONN_WRITING:
        set_deadline(conn, now_ns + set->write_timeout_ns);
        break;
    case CONN_LINGERING:
        set_deadline(conn, now_ns + LINGER_MS * INT64_C(1000000));
        break;
    case CONN_CLOSED:
        break;
    }
}

/* ---- after the output has been sent ---- */

/* Sends a FIN and then reads to the end, so that what was sent is not
 * destroyed by the reset that closing with unread input would cause. */
static void linger(struct conn *conn)
{
    if (shutdown(conn->fd, SHUT_WR) != 0) {
        conn_close(conn);
        return;
    }
    pool_return(&conn->set->pool, &conn->in);
    conn->linger_left = LINGER_BYTES;
    conn_enter(conn, CONN_LINGERING);
    choose_deadline(conn);
    watch(conn, EV_READ);
}

/* Everything that could be done has been done: waits for what comes next. */
static void settle(struct conn *conn)
{
    if (conn->state != CONN_WAITING && conn->note != NULL) {
        free(conn->note);
        conn->note = NULL;
    }
    if (conn->out == NULL && conn->ending == CONN_CLOSES) {
        conn_close(conn);
        return;
    }
    if (conn->out == NULL && conn->ending == CONN_LINGERS) {
        linger(conn);
        return;
    }
    choose_deadline(conn);
    if (conn->state == CONN_WRITING)
        watch(conn, EV_WRITE);
    else
        watch(conn, conn->state == CONN_WAITING ? 0 : EV_READ);
}

/* ---- input ---- */

/* What the client has not yet acknowledged of what the kernel was given. */
static int bytes_in_kernel(const struct conn *conn)
{
    int bytes = 0;
    return ioctl(conn->fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

/* Keeps the beginning of the next request; `bytes` may lie in conn->in. */
static int keep_input(struct conn *conn, const char *bytes, size_t len)
{
    struct pool *pool = &conn->set->pool;
    if (conn->state == CONN_BODY)
        return 0; /* conn->in is the head, and everything else has been taken */
    if (len == 0) {
        pool_return(pool, &conn->in);
        return 0;
    }
    if (conn->in != NULL && conn->in->capacity < len)
        pool_return(pool, &conn->in); /* then `bytes` are in the read buffer */
    if (conn->in == NULL) {
        conn->in = pool_borrow(pool, len);
        if (conn->in == NULL)
            return -ENOMEM;
    }
    if (conn->in->data != bytes)
        memmove(conn->in->data, bytes, len);
    conn->in->len = (uint32_t)len;
    return 0;
}

void conn_process(struct conn *conn, const char *bytes, size_t len)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    size_t used = 0;
    bool more;
    do {
        if (len > used)
            used += exchange_feed(conn, bytes + used, len - used);
        more = outbox->full;
        enum output_result result = output_flush(conn);
        if (result == OUTPUT_FAILED) {
            conn_close(conn);
            return;
        }
        if (result == OUTPUT_PENDING) {
            if (conn->state == CONN_BODY) { /* half of a "100 Continue" */
                conn_close(conn);
                return;
            }
            more = false;
        }
    } while (more && conn->ending == CONN_STAYS && conn->state <= CONN_BODY);

    if (conn->ending == CONN_STAYS && keep_input(conn, bytes + used, len - used) != 0) {
        conn_close(conn);
        return;
    }
    if (conn->out != NULL) {
        if (conn->ending != CONN_STAYS)
            pool_return(&set->pool, &conn->in);
        conn_enter(conn, CONN_WRITING);
        conn->out->in_kernel = bytes_in_kernel(conn);
    }
    settle(conn);
}

/* False when nothing was there to read. */
static bool read_and_process(struct conn *conn)
{
    struct conns *set = conn->set;
    size_t have = 0;
    /* The beginning of a request is put in front of what comes: copying a little is cheaper
     * than reading a busy client in small pieces into a small buffer. */
    if (conn->state == CONN_HEAD) {
        have = conn->in->len;
        memcpy(set->read_buffer, conn->in->data, have);
    }
    ssize_t got = recv(conn->fd, set->read_buffer + have, set->read_buffer_size - have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        conn_close(conn);
        return true;
    }
    set->metrics->counter[METRIC_BYTES_RECEIVED] += (uint64_t)got;
    if (conn->state == CONN_IDLE)
        conn->started_ns = set->loop->now_ns;
    conn_process(conn, set->read_buffer, have + (size_t)got);
    return true;
}

static void read_lingering(struct conn *conn)
{
    struct conns *set = conn->set;
    ssize_t got = recv(conn->fd, set->read_buffer, set->read_buffer_size, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        set->metrics->counter[METRIC_BYTES_RECEIVED] += (uint64_t)got;
        conn->linger_left -= got;
    }
    if (got <= 0 || conn->linger_left <= 0)
        conn_close(conn);
}

static void put_off_write_deadline(struct conn *conn)
{
    conn->out->progress = 0;
    conn->out->in_kernel = bytes_in_kernel(conn);
    choose_deadline(conn);
}

/* A slow client empties a large socket buffer for a long time before there is
 * room to write again: what it took from there counts, too. */
static bool makes_progress(struct conn *conn)
{
    return conn->out->in_kernel - bytes_in_kernel(conn) >= OUTPUT_MIN_PROGRESS;
}

static void continue_writing(struct conn *conn)
{
    switch (output_continue(conn)) {
    case OUTPUT_PENDING:
        /* A client that takes a few bytes now and then does not put the deadline off. */
        if (conn->out->progress >= OUTPUT_MIN_PROGRESS)
            put_off_write_deadline(conn);
        return;
    case OUTPUT_FAILED:
        conn_close(conn);
        return;
    case OUTPUT_DONE:
        break;
    }
    conn_enter(conn, CONN_IDLE);
    conn->started_ns = conn->set->loop->now_ns;
    if (conn->ending == CONN_STAYS && conn->in != NULL)
        conn_process(conn, conn->in->data, conn->in->len);
    else
        settle(conn);
}

static void on_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct conn *conn = context;
    struct conns *set = conn->set;
    loop_enter(set->loop);
    switch ((enum conn_state)conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_BODY:
        (void)read_and_process(conn);
        break;
    case CONN_WRITING:
        continue_writing(conn);
        break;
    case CONN_LINGERING:
        read_lingering(conn);
        break;
    case CONN_WAITING: /* neither is watched */
    case CONN_CLOSED:
        break;
    }
    conns_reap(set);
}

/* ---- deadlines that have come ---- */

static void time_out(struct conn *conn, enum metric_counter counter, const char *message)
{
    conn->set->metrics->counter[counter]++;
    if (message == NULL) {
        conn_close(conn);
        return;
    }
    exchange_fail(conn, 408, message);
    conn_process(conn, NULL, 0);
}

static void on_deadline(struct conn *conn)
{
    struct conns *set = conn->set;
    bool whole = set->loop->now_ns >= conn->started_ns + set->request_timeout_ns;
    switch ((enum conn_state)conn->state) {
    case CONN_IDLE:
        /* A request may have come in since the loop last looked; it is not too late. */
        if (read_and_process(conn))
            return;
        if (set->draining)
            conn_close(conn);
        else
            time_out(conn,
                     conn->request_count == 0 ? METRIC_TIMEOUT_HEADER : METRIC_TIMEOUT_KEEPALIVE,
                     NULL);
        break;
    case CONN_HEAD:
        time_out(conn, METRIC_TIMEOUT_HEADER, "the head of the request did not come in time");
        break;
    case CONN_BODY:
        time_out(conn, whole ? METRIC_TIMEOUT_REQUEST : METRIC_TIMEOUT_BODY,
                 "the body of the request did not come in time");
        break;
    case CONN_WAITING:
        time_out(conn, METRIC_TIMEOUT_REQUEST, NULL);
        break;
    case CONN_WRITING:
        if (makes_progress(conn))
            put_off_write_deadline(conn);
        else
            time_out(conn, METRIC_TIMEOUT_WRITE, NULL);
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
    struct conn *conn = (struct conn *)((char *)node - offsetof(struct conn, timer));
    if (set->loop->now_ns < conn->deadline_ns)
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

/* ---- the set ---- */

static struct conn *conn_new(struct conns *set)
{
    struct conn *conn = TAILQ_FIRST(&set->spare);
    if (conn != NULL) {
        TAILQ_REMOVE(&set->spare, conn, link);
        set->spare_count--;
        return conn;
    }
    return malloc(sizeof(*conn));
}

void conns_accept(struct conns *set, int fd, const struct access_remote *remote)
{
    struct conn *conn = conn_new(set);
    if (conn == NULL) {
        (void)close(fd);
        return;
    }
    *conn = (struct conn){
        .set = set,
        .fd = fd,
        .remote = *remote,
        .state = CONN_IDLE,
        .started_ns = set->loop->now_ns,
    };
    set->count++;
    set->state_count[CONN_IDLE]++;
    TAILQ_INSERT_TAIL(&set->list[CONN_LIST_QUIET], conn, link);
    set->metrics->counter[METRIC_CONNECTIONS_ACCEPTED]++;
    /* The request is often there already. */
    if (!read_and_process(conn))
        settle(conn);
}

void conns_accept_end(struct conns *set)
{
    conns_reap(set);
}

static void take_config(struct conns *set, const struct config *config)
{
    set->limits = (struct http_limits){
        .max_head_bytes = (uint32_t)config->http_max_header_bytes,
        .max_line_bytes = (uint32_t)config->http_max_line_bytes,
        .max_headers = (uint32_t)config->http_max_headers,
    };
    set->header_timeout_ns = config->http_header_timeout * 1000000;
    set->body_timeout_ns = config->http_body_timeout * 1000000;
    set->request_timeout_ns = config->http_request_timeout * 1000000;
    set->keepalive_timeout_ns = config->http_keepalive_timeout * 1000000;
    set->write_timeout_ns = config->http_write_timeout * 1000000;
    set->max_body_bytes = config->http_max_body_bytes;
    set->max_requests = config->http_max_requests > 0 && config->http_max_requests < UINT32_MAX
                            ? (uint32_t)config->http_max_requests
                            : UINT32_MAX;
}

struct conns *conns_new(const struct conns_parts *parts)
{
    struct conns *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    set->parts = *parts;
    set->loop = parts->loop;
    set->metrics = parts->metrics;
    set->armed_ns = INT64_MAX;
    take_config(set, parts->config);
    set->read_buffer_size = READ_BUFFER_SIZE + set->limits.max_head_bytes;
    set->read_buffer = malloc(set->read_buffer_size);
    if (set->read_buffer == NULL) {
        free(set);
        return NULL;
    }
    for (int i = 0; i < CONN_LIST_COUNT; i++)
        TAILQ_INIT(&set->list[i]);
    TAILQ_INIT(&set->dead);
    TAILQ_INIT(&set->spare);
    pool_init(&set->pool);
    outbox_init(&set->outbox);
    wheel_init(&set->wheel, clock_monotonic_ns());
    (void)evtimer_assign(&set->wheel_timer, parts->loop->base, on_wheel_timer, set);
    return set;
}

void conns_free(struct conns **conns)
{
    struct conns *set = *conns;
    if (set == NULL)
        return;
    *conns = NULL;
    (void)conns_cut(set);
    (void)evtimer_del(&set->wheel_timer);
    struct conn *conn;
    while ((conn = TAILQ_FIRST(&set->spare)) != NULL) {
        TAILQ_REMOVE(&set->spare, conn, link);
        free(conn);
    }
    pool_fini(&set->pool);
    free(set->read_buffer);
    free(set);
}

int64_t conns_count(const struct conns *set)
{
    return set->count;
}

void conns_drain(struct conns *set, int64_t idle_grace_ms)
{
    set->draining = true;
    set->idle_grace_ns = idle_grace_ms * 1000000;
    struct conn *conn;
    TAILQ_FOREACH (conn, &set->list[CONN_LIST_QUIET], link) {
        if (conn->state == CONN_IDLE)
            set_deadline(conn, earlier(conn->deadline_ns, set->loop->now_ns + set->idle_grace_ns));
    }
}

static int64_t in_flight(const struct conns *set)
{
    return set->state_count[CONN_BODY] + set->state_count[CONN_WAITING] +
           set->state_count[CONN_WRITING];
}

int64_t conns_cut(struct conns *set)
{
    int64_t cut = in_flight(set) + set->state_count[CONN_HEAD];
    for (int i = 0; i < CONN_LIST_COUNT; i++) {
        while (!TAILQ_EMPTY(&set->list[i]))
            conn_close(TAILQ_FIRST(&set->list[i]));
    }
    conns_reap(set);
    return cut;
}

void conns_measure(const struct conns *set, struct metrics *metrics)
{
    metrics->gauge[GAUGE_CONNECTIONS_ACTIVE] = set->count;
    metrics->gauge[GAUGE_CONNECTIONS_IDLE] = set->state_count[CONN_IDLE];
    metrics->gauge[GAUGE_REQUESTS_IN_FLIGHT] = in_flight(set);
    metrics->gauge[GAUGE_BUFFERS_BORROWED] = set->pool.borrowed;
    /* They are in the order in which they became busy, so the first is the oldest. */
    const struct conn *oldest = TAILQ_FIRST(&set->list[CONN_LIST_BUSY]);
    metrics->gauge[GAUGE_OLDEST_REQUEST_MS] =
        oldest != NULL ? (set->loop->now_ns - oldest->started_ns) / 1000000 : 0;
}
