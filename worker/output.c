/* SPDX-License-Identifier: BSD-2-Clause
 *
 * output - sending answers: at once if the client takes them, else from an
 * owned copy when it is ready.
 */
#include "worker/conn_private.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    SENDFILE_BYTES = 256 * 1024,
};

static const struct output_tail no_tail = {.file = -1};

void outbox_init(struct outbox *outbox)
{
    outbox->base = outbox->len = 0;
    outbox->answer_base = outbox->answer_count = 0;
    outbox->part_count = 0;
    outbox->full = outbox->logged = false;
    outbox->tail = no_tail;
    outbox->head = NULL;
}

bool outbox_has_room(const struct outbox *outbox)
{
    return outbox->part_count < OUTBOX_PARTS && outbox->answer_count < OUTBOX_ANSWERS &&
           OUTBOX_SIZE - outbox->len >= OUTBOX_ROOM;
}

static bool has_tail(const struct output_tail *tail)
{
    return tail->len > 0 || tail->left > 0;
}

static void tail_release(struct output_tail *tail)
{
    blob_unref(&tail->blob);
    if (tail->file >= 0)
        (void)close(tail->file);
    *tail = no_tail;
}

void outbox_add_answer(struct conn *conn, int status, int64_t body_bytes)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    struct answer *answer = &outbox->answers[outbox->answer_count++];
    answer->started_ns = conn->started_ns;
    answer->body_bytes = body_bytes;
    answer->status = (uint16_t)status;
    answer->minor_version = conn->minor_version;
    answer->logged = access_log_wants(set->parts.access_log);
    if (outbox->answer_count == OUTBOX_ANSWERS || OUTBOX_SIZE - outbox->len < OUTBOX_ROOM ||
        outbox->answer_count - outbox->answer_base == TURN_ANSWERS)
        outbox->full = true;
    if (!answer->logged)
        return;
    outbox->logged = true;
    answer->method = answer->target = slice_from(NULL, 0);
    if (set->answering != NULL) {
        answer->method = http_slice(set->answering_bytes, set->answering->method_text);
        answer->target = http_slice(set->answering_bytes, set->answering->target);
    } else if (conn->note != NULL) {
        answer->method = slice_from_str(conn->note);
        answer->target = slice_from_str(conn->note + answer->method.len + 1);
    }
}

static void log_answer(const struct conn *conn, const struct answer *answer, int64_t now_ns)
{
    const struct access_entry entry = {
        .method = answer->method,
        .target = answer->target,
        .minor_version = answer->minor_version,
        .status = answer->status,
        .body_bytes = answer->body_bytes,
        .duration_ns = now_ns - answer->started_ns,
    };
    access_log_add(conn->set->parts.access_log, &conn->remote, &entry, clock_wall_ms());
}

/* These answers have been sent completely. */
static void account(struct conn *conn, const struct answer *answers, uint32_t count)
{
    struct conns *set = conn->set;
    struct metrics *metrics = set->metrics;
    int64_t now_ns = loop_touch(set->loop);
    metrics->counter[METRIC_HTTP_REQUESTS] += count;
    for (uint32_t i = 0; i < count; i++) {
        metrics_count_status(metrics, answers[i].status);
        histogram_record(&metrics->histogram[HISTOGRAM_REQUEST_DURATION],
                         (uint64_t)(now_ns - answers[i].started_ns));
        if (answers[i].logged)
            log_answer(conn, &answers[i], now_ns);
    }
}

/* ---- writing ---- */

/* What is left to write; advanced as it is written. */
struct cursor {
    const char *bytes;
    size_t len;
    struct output_tail *tail;
};

/* Bytes written, or -errno. */
static ssize_t write_memory(int fd, struct cursor *cursor)
{
    struct output_tail *tail = cursor->tail;
    struct iovec iov[2] = {{(char *)cursor->bytes, cursor->len}, {(char *)tail->bytes, tail->len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = tail->len > 0 ? 2 : 1};
    ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | (tail->left > 0 ? MSG_MORE : 0));
    if (sent < 0)
        return -errno;
    size_t head = (size_t)sent < cursor->len ? (size_t)sent : cursor->len;
    cursor->bytes += head;
    cursor->len -= head;
    tail->bytes += (size_t)sent - head;
    tail->len -= (size_t)sent - head;
    return sent;
}

static ssize_t write_file(int fd, struct output_tail *tail)
{
    size_t piece = tail->left < SENDFILE_BYTES ? (size_t)tail->left : SENDFILE_BYTES;
    ssize_t sent = sendfile(fd, tail->file, &tail->offset, piece);
    if (sent < 0)
        return -errno;
    if (sent == 0) /* the file has become shorter than the length that was announced */
        return -EIO;
    tail->left -= sent;
    return sent;
}

/* Writes until everything is out (0), the socket is full or it is the turn of
 * others (-EAGAIN), or it failed (-errno). */
static int write_all(struct conn *conn, struct cursor *cursor, int64_t *progress)
{
    while (cursor->len > 0 || has_tail(cursor->tail)) {
        if (*progress >= TURN_BYTES)
            return -EAGAIN;
        bool memory = cursor->len > 0 || cursor->tail->len > 0;
        ssize_t sent = memory ? write_memory(conn->fd, cursor) : write_file(conn->fd, cursor->tail);
        if (sent == -EINTR)
            continue;
        if (sent < 0)
            return (int)sent;
        *progress += sent;
        conn->set->metrics->counter[METRIC_BYTES_SENT] += (uint64_t)sent;
    }
    return 0;
}

/* ---- answers that outlive the callback ---- */

/* The slices of a logged answer point into buffers that are used again. */
static void answer_own_slices(struct answer *answer)
{
    size_t method_len = answer->method.len;
    char *copy = malloc(method_len + answer->target.len + 1);
    if (copy == NULL) {
        answer->logged = false;
        return;
    }
    if (method_len > 0)
        memcpy(copy, answer->method.ptr, method_len);
    if (answer->target.len > 0)
        memcpy(copy + method_len, answer->target.ptr, answer->target.len);
    answer->method.ptr = copy;
    answer->target.ptr = copy + method_len;
}

static void output_free(struct conn *conn)
{
    struct output *out = conn->out;
    conn->out = NULL;
    for (uint32_t i = 0; i < out->answer_count; i++) {
        if (out->answers[i].logged)
            free((char *)out->answers[i].method.ptr);
    }
    pool_return(&conn->set->pool, &out->chunk);
    tail_release(&out->tail);
    free(out);
}

/* Moves what is left of the outbox to the connection. */
static int output_keep(struct conn *conn, const struct cursor *cursor, const struct answer *answers,
                       uint32_t count)
{
    size_t answers_size = count * sizeof(struct answer);
    struct output *out = malloc(sizeof(*out) + answers_size);
    if (out == NULL)
        return -ENOMEM;
    *out = (struct output){.tail = no_tail};
    if (cursor->len > 0) {
        out->chunk = pool_borrow(&conn->set->pool, cursor->len);
        if (out->chunk == NULL) {
            free(out);
            return -ENOMEM;
        }
        memcpy(out->chunk->data, cursor->bytes, cursor->len);
        out->chunk->len = (uint32_t)cursor->len;
    }
    out->tail = *cursor->tail;
    *cursor->tail = no_tail;
    out->answer_count = count;
    memcpy(out->answers, answers, answers_size);
    for (uint32_t i = 0; i < out->answer_count; i++) {
        if (out->answers[i].logged)
            answer_own_slices(&out->answers[i]);
    }
    conn->out = out;
    return 0;
}

/* Sends these bytes and the tail, which stand for these answers. */
static enum output_result send_answers(struct conn *conn, struct cursor *cursor,
                                       const struct answer *answers, uint32_t count)
{
    struct conns *set = conn->set;
    int err = 0;
    /* The common case first, without the machinery for the others. */
    if (!has_tail(cursor->tail)) {
        ssize_t sent = send(conn->fd, cursor->bytes, cursor->len, MSG_NOSIGNAL);
        if (sent < 0) {
            err = -errno;
            sent = 0;
        }
        set->metrics->counter[METRIC_BYTES_SENT] += (uint64_t)sent;
        cursor->bytes += sent;
        cursor->len -= (size_t)sent;
    }
    if ((err == 0 || err == -EINTR) && (cursor->len > 0 || has_tail(cursor->tail)))
        err = write_all(conn, cursor, &(int64_t){0});
    if (err == 0) {
        account(conn, answers, count);
        return OUTPUT_DONE;
    }
    if (err == -EAGAIN && output_keep(conn, cursor, answers, count) == 0)
        return OUTPUT_PENDING;
    set->metrics->counter[METRIC_HTTP_ABORTED] += count;
    return OUTPUT_FAILED;
}

bool output_queue(struct conn *conn)
{
    struct outbox *outbox = &conn->set->outbox;
    if (outbox->full || outbox->logged || outbox_is_empty(outbox))
        return false;
    outbox->parts[outbox->part_count++] = (struct outbox_part){
        .conn = conn,
        .at = (uint32_t)outbox->base,
        .len = (uint32_t)(outbox->len - outbox->base),
        .first_answer = outbox->answer_base,
        .answer_count = outbox->answer_count - outbox->answer_base,
    };
    outbox->base = outbox->len;
    outbox->answer_base = outbox->answer_count;
    conn->queued = true;
    return true;
}

void output_unqueue(struct conn *conn)
{
    struct outbox *outbox = &conn->set->outbox;
    for (uint32_t i = 0; conn->queued && i < outbox->part_count; i++) {
        if (outbox->parts[i].conn != conn)
            continue;
        outbox->parts[i].conn = NULL;
        conn->set->metrics->counter[METRIC_HTTP_ABORTED] += outbox->parts[i].answer_count;
        conn->queued = false;
    }
}

enum output_result output_send_part(struct conns *set, const struct outbox_part *part)
{
    struct output_tail tail = no_tail;
    struct cursor cursor = {set->outbox.bytes + part->at, part->len, &tail};
    part->conn->queued = false;
    return send_answers(part->conn, &cursor, set->outbox.answers + part->first_answer,
                        part->answer_count);
}

enum output_result output_flush(struct conn *conn)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    struct cursor cursor = {outbox->bytes + outbox->base, outbox->len - outbox->base,
                            &outbox->tail};
    enum output_result result = OUTPUT_DONE;
    if (cursor.len > 0)
        result = send_answers(conn, &cursor, outbox->answers + outbox->answer_base,
                              outbox->answer_count - outbox->answer_base);
    if (outbox->tail.file >= 0 || outbox->tail.bytes != NULL)
        tail_release(&outbox->tail);
    pool_return(&set->pool, &outbox->head);
    outbox->len = outbox->base;
    outbox->answer_count = outbox->answer_base;
    outbox->full = outbox->logged = false;
    return result;
}

enum output_result output_continue(struct conn *conn)
{
    struct output *out = conn->out;
    struct cursor cursor = {.tail = &out->tail};
    if (out->chunk != NULL) {
        cursor.bytes = out->chunk->data + out->at;
        cursor.len = out->chunk->len - out->at;
    }
    int64_t progress = 0;
    int err = write_all(conn, &cursor, &progress);
    out->progress += progress;
    if (err == 0) {
        account(conn, out->answers, out->answer_count);
        output_free(conn);
        return OUTPUT_DONE;
    }
    if (err != -EAGAIN)
        return OUTPUT_FAILED; /* conn_close() discards it */
    if (out->chunk != NULL) {
        out->at = (uint32_t)(out->chunk->len - cursor.len);
        if (cursor.len == 0)
            pool_return(&conn->set->pool, &out->chunk);
    }
    return OUTPUT_PENDING;
}

void output_discard(struct conn *conn)
{
    if (conn->out == NULL)
        return;
    conn->set->metrics->counter[METRIC_HTTP_ABORTED] += conn->out->answer_count;
    output_free(conn);
}
