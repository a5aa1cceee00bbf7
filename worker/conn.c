/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn - the life of a connection, from accept to close, and the set of all.
 */
#include "worker/conn.h"

#include "common/log.h"
#include "worker/conn_private.h"

#include <unistd.h>

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
    } else if (conn->state == CONN_BODY || conn->body_next) {
        set->metrics->counter[METRIC_HTTP_ABORTED]++;
    }
    if (conn->watched != 0)
        (void)event_del(&conn->event);
    output_unqueue(conn);
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
        .linger_ms = LINGER_MS,
    };
    set->count++;
    set->state_count[CONN_IDLE]++;
    TAILQ_INSERT_TAIL(&set->list[CONN_LIST_QUIET], conn, link);
    set->metrics->counter[METRIC_CONNECTIONS_ACCEPTED]++;
    set->fresh[set->fresh_count++] = conn;
    if (set->fresh_count == CONN_FRESH)
        conns_accept_end(set);
}

void conns_accept_end(struct conns *set)
{
    for (int i = 0; i < set->fresh_count; i++) {
        if (!conn_read(set->fresh[i]))
            conn_settle(set->fresh[i]);
    }
    set->fresh_count = 0;
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
    conns_init_deadlines(set);
    return set;
}

void conns_free(struct conns **conns)
{
    struct conns *set = *conns;
    if (set == NULL)
        return;
    *conns = NULL;
    int64_t idle;
    (void)conns_cut(set, &idle);
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
    int64_t until_ns = set->loop->now_ns + set->idle_grace_ns;
    struct conn *conn;
    TAILQ_FOREACH (conn, &set->list[CONN_LIST_QUIET], link) {
        if (conn->state == CONN_IDLE && conn->deadline_ns > until_ns)
            conn_set_deadline(conn, until_ns);
    }
}

static int64_t in_flight(const struct conns *set)
{
    return set->state_count[CONN_HEAD] + set->state_count[CONN_BODY] +
           set->state_count[CONN_WAITING] + set->state_count[CONN_WRITING] +
           set->state_count[CONN_YIELDING];
}

int64_t conns_cut(struct conns *set, int64_t *idle)
{
    int64_t cut = in_flight(set);
    *idle = set->state_count[CONN_IDLE];
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
