/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exchange_answer - rendering an answer into the outbox, and what it says
 * about the connection.
 */
#include "worker/exchange.h"

#include "worker/conn_private.h"

#include <stdio.h>
#include <unistd.h>

/* What the answer says about the connection, and with it how the connection ends. */
static enum response_connection decide_connection(struct conn *conn, bool must_close)
{
    struct conns *set = conn->set;
    bool last = ++conn->request_count >= set->max_requests;
    if (set->draining && !last) {
        /* What came in together is answered together; only not without end. */
        last = !set->more_follows || conn->drained >= DRAIN_PIPELINE;
        conn->drained++;
    }
    if (must_close || (conn->keep_alive && last)) {
        conn->ending = CONN_LINGERS;
        return RESPONSE_CLOSE;
    }
    if (!conn->keep_alive) {
        conn->ending = CONN_CLOSES;
        return RESPONSE_CLOSE;
    }
    return conn->minor_version == 0 ? RESPONSE_KEEP_ALIVE : RESPONSE_STAYS;
}

/* A small file is cheaper copied than sent by itself. False: it is not small,
 * or could not be read whole. */
static bool put_small_file(struct outbox *outbox, const struct reply *reply)
{
    if (reply->length > EXCHANGE_INLINE_BODY)
        return false;
    ssize_t got =
        pread(reply->file, outbox->bytes + outbox->len, (size_t)reply->length, reply->offset);
    if (got != reply->length)
        return false;
    outbox->len += (size_t)got;
    (void)close(reply->file);
    return true;
}

/* The body of the answer: copied if it is small, else left to the tail. */
static int64_t put_body(struct outbox *outbox, const struct reply *reply)
{
    struct output_tail *tail = &outbox->tail;
    if (reply->is_file && put_small_file(outbox, reply))
        return reply->length;
    if (reply->is_file) {
        tail->file = reply->file;
        tail->offset = reply->offset;
        tail->left = reply->length;
        outbox->full = true;
        return reply->length;
    }
    struct slice body = reply->body;
    if (reply->blob != NULL)
        body = slice_from(reply->blob->data, reply->blob->len);
    if (reply->blob != NULL && body.len > EXCHANGE_INLINE_BODY) {
        tail->bytes = body.ptr;
        tail->len = body.len;
        tail->blob = blob_ref(reply->blob);
        outbox->full = true;
    } else if (body.len > 0) {
        CHECK(body.len <= EXCHANGE_INLINE_BODY);
        memcpy(outbox->bytes + outbox->len, body.ptr, body.len);
        outbox->len += body.len;
    }
    return (int64_t)body.len;
}

static int64_t body_length(const struct reply *reply)
{
    if (reply->status == 204 || reply->status == 304)
        return RESPONSE_NO_LENGTH;
    if (reply->is_file)
        return reply->length;
    return (int64_t)(reply->blob != NULL ? reply->blob->len : reply->body.len);
}

static void release_reply(const struct reply *reply)
{
    struct blob *blob = reply->blob;
    blob_unref(&blob);
    if (reply->is_file)
        (void)close(reply->file);
}

void exchange_answer(struct conn *conn, const struct reply *reply)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    response_date_refresh(&set->parts.common->date, set->loop->now_ns);
    struct response_head head = {
        .status = reply->status,
        .connection = decide_connection(conn, reply->close),
        .type = reply->type,
        .length = body_length(reply),
        .headers = reply->headers,
    };
    outbox->len += response_render_head(outbox->bytes + outbox->len, set->parts.common, &head);
    bool no_body = conn->method == HTTP_HEAD || head.length <= 0;
    int64_t body_bytes = no_body ? 0 : put_body(outbox, reply);
    outbox_add_answer(conn, reply->status, body_bytes);
    if (no_body || !reply->is_file)
        release_reply(reply);
}

void exchange_answer_page(struct conn *conn, struct response_page *page)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    response_date_refresh(&set->parts.common->date, set->loop->now_ns);
    response_page_refresh(page, &set->parts.common->date);

    enum response_connection connection = decide_connection(conn, false);
    size_t body_len = conn->method == HTTP_HEAD ? 0 : page->len - page->head_len;
    char *at = outbox->bytes + outbox->len;
    if (connection == RESPONSE_STAYS && body_len <= EXCHANGE_INLINE_BODY) {
        memcpy(at, page->bytes, page->head_len + body_len);
        outbox->len += page->head_len + body_len;
    } else {
        outbox->len += response_page_head(page, connection, at);
        const struct reply body = {.body = {page->bytes + page->head_len, body_len}};
        if (body_len <= EXCHANGE_INLINE_BODY) {
            (void)put_body(outbox, &body);
        } else {
            outbox->tail.bytes = body.body.ptr;
            outbox->tail.len = body_len;
            outbox->full = true;
        }
    }
    outbox_add_answer(conn, page->status, (int64_t)body_len);
}

/* ---- errors ---- */

static bool wants_json(const struct conns *set)
{
    if (set->route != NULL && (set->route->flags & ROUTE_JSON) != 0)
        return true;
    if (set->answering == NULL)
        return false;
    const struct http_header *accept =
        http_find_header(set->answering, set->answering_bytes, SLICE_LITERAL("Accept"));
    if (accept == NULL)
        return false;
    struct slice value = http_slice(set->answering_bytes, accept->value);
    return value.len > 0 && memmem(value.ptr, value.len, "json", 4) != NULL;
}

/* Our messages are plain text; these two are all that JSON would trip over. */
static void put_escaped(char *out, size_t size, const char *message)
{
    size_t len = 0;
    for (; *message != '\0' && len + 3 < size; message++) {
        if (*message == '"' || *message == '\\')
            out[len++] = '\\';
        out[len++] = *message;
    }
    out[len] = '\0';
}

void exchange_refuse(struct conn *conn, int status, const char *message, struct slice headers,
                     bool must_close)
{
    char escaped[512], body[768];
    bool json = wants_json(conn->set);
    int len;
    if (json) {
        put_escaped(escaped, sizeof(escaped), message);
        len = snprintf(body, sizeof(body), "{\"error\":{\"status\":%d,\"message\":\"%s\"}}\n",
                       status, escaped);
    } else {
        len = snprintf(body, sizeof(body), "%d %s: %.500s\n", status, http_status_text(status),
                       message);
    }
    struct reply reply = {
        .status = status,
        .type =
            json ? SLICE_LITERAL("application/json") : SLICE_LITERAL("text/plain; charset=utf-8"),
        .headers = headers,
        .body = slice_from(body, (size_t)len),
        .close = must_close,
    };
    exchange_answer(conn, &reply);
}

void exchange_answer_error(struct conn *conn, int status, const char *message, struct slice headers)
{
    exchange_refuse(conn, status, message, headers, false);
}

void exchange_fail(struct conn *conn, int status, const char *message)
{
    conn->set->route = NULL;
    conn->set->answering = NULL;
    conn->method = HTTP_METHOD_UNKNOWN;
    conn->minor_version = 1;
    conn->keep_alive = true; /* it is us who end it */
    exchange_refuse(conn, status, message, SLICE_LITERAL(""), true);
}
