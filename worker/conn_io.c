/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn_io - what a connection reads and writes, and what it waits for then.
 */
#include "worker/conn_private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void on_event(evutil_socket_t fd, short what, void *context);

/* ---- waiting ---- */

void conn_watch(struct conn *conn, short what)
{
    /* Adding it again makes the kernel look for what was left unread, and tell again that nothing
     * comes after it. */
    bool again = what == EV_READ && conn->unread;
    conn->unread = false;
    if (conn->watched == what && !again)
        return;
    conn->peer_done = false;
    if (conn->watched != 0)
        (void)event_del(&conn->event);
    conn->watched = (uint8_t)what;
    if (what == 0)
        return;
    /* Edge-triggered for reading: the kernel looks at the socket once per event, not twice. */
    short flags =
        what == EV_READ ? EV_READ | EV_CLOSED | EV_ET | EV_PERSIST : EV_WRITE | EV_PERSIST;
    (void)event_assign(&conn->event, conn->set->loop->base, conn->fd, flags, on_event, conn);
    if (event_add(&conn->event, NULL) != 0) {
        conn->watched = 0;
        conn_close(conn); /* no memory for it in the kernel: it could never be woken */
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
    conn_choose_deadline(conn);
    conn_watch(conn, EV_READ);
}

/* Long enough for the FIN to get there and a request that crossed it to get here. */
static int goodbye_ms(const struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return LINGER_IDLE_MIN_MS; /* a Unix socket */
    uint64_t ms = 4 * ((uint64_t)info.tcpi_rtt + 4 * (uint64_t)info.tcpi_rttvar) / 1000;
    if (ms > LINGER_MS)
        return LINGER_MS;
    return ms < LINGER_IDLE_MIN_MS ? LINGER_IDLE_MIN_MS : (int)ms;
}

void conn_end_idle(struct conn *conn)
{
    conn->linger_ms = (uint16_t)goodbye_ms(conn);
    conn->ending = CONN_LINGERS;
    conn_settle(conn);
}

/* Everything that could be done has been done: waits for what comes next. */
void conn_settle(struct conn *conn)
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
    conn_choose_deadline(conn);
    /* The loop does not block before the turn of one that yields: it has room to write. */
    if (conn->state == CONN_WRITING || conn->state == CONN_YIELDING)
        conn_watch(conn, EV_WRITE);
    else
        conn_watch(conn, conn->state == CONN_WAITING ? 0 : EV_READ);
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

/* The answers have been sent, or moved to conn->out, or it failed. */
static void after_flush(struct conn *conn, enum output_result result)
{
    if (result == OUTPUT_FAILED) {
        conn_close(conn);
        return;
    }
    if (result == OUTPUT_PENDING) {
        /* Then it is "100 Continue" that waits. */
        conn->body_next = conn->state == CONN_BODY && conn->ending == CONN_STAYS;
        if (conn->ending != CONN_STAYS)
            pool_return(&conn->set->pool, &conn->in);
        conn_enter(conn, CONN_WRITING);
        conn->out->in_kernel = bytes_in_kernel(conn);
    }
    conn_settle(conn);
}

void conn_process(struct conn *conn, const char *bytes, size_t len)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    enum output_result result = OUTPUT_DONE;
    const uint64_t *bytes_sent = &set->metrics->counter[METRIC_BYTES_SENT];
    uint64_t sent_before = *bytes_sent;
    uint32_t answers = 0;
    size_t used = 0;
    bool more, queued = false;
    do {
        if (len > used)
            used += exchange_feed(conn, bytes + used, len - used);
        more = outbox->full;
        answers += outbox->answer_count - outbox->answer_base;
        queued = conn->state != CONN_BODY && output_queue(conn);
        if (!queued)
            result = output_flush(conn);
    } while (more && result == OUTPUT_DONE && conn->ending == CONN_STAYS &&
             conn->state <= CONN_BODY && answers < TURN_ANSWERS &&
             *bytes_sent - sent_before < TURN_BYTES);

    if (result != OUTPUT_FAILED && conn->ending == CONN_STAYS &&
        keep_input(conn, bytes + used, len - used) != 0)
        result = OUTPUT_FAILED;
    /* The outbox was full in front of what is left: it is not the beginning of a request. */
    if (more && used < len && result == OUTPUT_DONE && conn->ending == CONN_STAYS &&
        conn->state == CONN_IDLE)
        conn_enter(conn, CONN_YIELDING);
    if (!queued)
        after_flush(conn, result);
}

void conns_make_room(struct conns *set)
{
    CHECK(outbox_is_empty(&set->outbox));
    if (!outbox_has_room(&set->outbox))
        conns_end_turn(set);
}

void conns_end_turn(struct conns *set)
{
    struct outbox *outbox = &set->outbox;
    if (outbox->part_count == 0)
        return;
    for (uint32_t i = 0; i < outbox->part_count; i++) {
        struct conn *conn = outbox->parts[i].conn;
        if (conn != NULL)
            after_flush(conn, output_send_part(set, &outbox->parts[i]));
    }
    outbox_init(outbox);
    conns_reap(set);
}

/* False when nothing was there to read. */
bool conn_read(struct conn *conn)
{
    struct conns *set = conn->set;
    conns_make_room(set);
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
    conn->unread = have + (size_t)got == set->read_buffer_size;
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
    conn->unread = got == (ssize_t)set->read_buffer_size;
    if (got <= 0 || conn->linger_left <= 0 || (conn->peer_done && !conn->unread)) {
        conn_close(conn);
        return;
    }
    conn_watch(conn, EV_READ);
}

static void put_off_write_deadline(struct conn *conn)
{
    conn->out->progress = 0;
    conn->out->in_kernel = bytes_in_kernel(conn);
    conn_choose_deadline(conn);
}

bool conn_extend_write(struct conn *conn)
{
    /* A slow client empties a large socket buffer for a long time before there is room to write
     * again: what it took from there counts. */
    if (conn->out->in_kernel - bytes_in_kernel(conn) < OUTPUT_MIN_PROGRESS)
        return false;
    put_off_write_deadline(conn);
    return true;
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
    if (conn->body_next) {
        conn->body_next = false;
        conn_enter(conn, CONN_BODY);
        conn_settle(conn);
        return;
    }
    conn_enter(conn, CONN_IDLE);
    conn->started_ns = conn->set->loop->now_ns;
    conns_make_room(conn->set);
    if (conn->ending == CONN_STAYS && conn->in != NULL)
        conn_process(conn, conn->in->data, conn->in->len);
    else
        conn_settle(conn);
}

void conn_take_turn(struct conn *conn)
{
    conn_enter(conn, CONN_IDLE);
    conns_make_room(conn->set);
    conn_process(conn, conn->in->data, conn->in->len);
}

/* All that the peer will ever send has been read: there will be no other
 * event to learn that from. */
static void read_last(struct conn *conn)
{
    (void)conn_read(conn);
    if (!conn->peer_done || conn->unread || conn->state > CONN_BODY)
        return;
    if (conn->queued)
        conn->ending = CONN_CLOSES;
    else
        conn_close(conn);
}

static void on_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct conn *conn = context;
    struct conns *set = conn->set;
    loop_enter(set->loop);
    conn->peer_done = (what & EV_CLOSED) != 0;
    switch ((enum conn_state)conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_BODY:
        read_last(conn);
        break;
    case CONN_WRITING:
        continue_writing(conn);
        break;
    case CONN_YIELDING:
        conn_take_turn(conn);
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
