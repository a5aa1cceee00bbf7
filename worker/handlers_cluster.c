/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handlers_cluster - /health*, /api/health and /metrics: documents about the
 * whole cluster, from the master or, when it is away, the last that was heard.
 */
#include "common/buf.h"
#include "common/secret.h"
#include "worker/accept.h"
#include "worker/exchange.h"
#include "worker/handlers_private.h"

#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A request that waits for a document. Owned by the wait: freed when it ends. */
struct view_wait {
    struct exchange_wait exchange;
    struct document_waiter waiter;
    const struct view_route *route;
};

static const struct slice json_type = {"application/json", 16};

static bool is_stopping(const struct handlers *handlers)
{
    return *handlers->parts.cluster_state >= CLUSTER_DRAINING;
}

/* Load balancers are to go elsewhere from the first moment of a drain on. */
static bool must_be_503(const struct view_route *route)
{
    return (route->view == VIEW_HEALTH || route->view == VIEW_HEALTH_READY) &&
           is_stopping(route->handlers);
}

/* ---- what this worker can say by itself ---- */

static struct reply live_reply(const struct handlers *handlers, char *body, size_t size)
{
    int len = snprintf(body, size,
                       "{\"status\":\"ok\",\"live\":true,\"slot\":%u,\"pid\":%d,"
                       "\"generation\":%llu,\"timestamp\":%lld,\"version\":\"%s\"}\n",
                       handlers->parts.slot, (int)getpid(),
                       (unsigned long long)handlers->parts.generation,
                       (long long)clock_wall_ms() / 1000, MUSTER_VERSION);
    return (struct reply){
        .status = 200,
        .type = json_type,
        .headers = SLICE_LITERAL("Cache-Control: no-store\r\n"),
        .body = slice_from(body, (size_t)len),
    };
}

/* The master has never been heard of this document: health is told from here. */
static struct reply own_health(const struct handlers *handlers, char *body, size_t size)
{
    bool stopping = is_stopping(handlers);
    const struct metrics *metrics = handlers->parts.metrics;
    uint64_t open =
        metrics->counter[METRIC_CONNECTIONS_ACCEPTED] - metrics->counter[METRIC_CONNECTIONS_CLOSED];
    int len = snprintf(body, size,
                       "{\"status\":\"%s\",\"healthy\":%s,\"ready\":%s,\"redis_connected\":null,"
                       "\"active_connections\":%llu,\"timestamp\":%lld,\"version\":\"%s\","
                       "\"workers_ready\":1,\"stale\":true}\n",
                       stopping ? "draining" : "degraded", stopping ? "false" : "true",
                       stopping ? "false" : "true", (unsigned long long)open,
                       (long long)clock_wall_ms() / 1000, MUSTER_VERSION);
    return (struct reply){
        .status = stopping ? 503 : 200,
        .type = json_type,
        .headers = SLICE_LITERAL("Cache-Control: no-store\r\nMuster-Stale: true\r\n"),
        .body = slice_from(body, (size_t)len),
    };
}

static struct reply no_document(const struct view_route *route, char *body, size_t size)
{
    if (route->view == VIEW_HEALTH || route->view == VIEW_HEALTH_READY)
        return own_health(route->handlers, body, size);
    static const char text[] =
        "{\"error\":{\"status\":503,\"message\":\"the master does not answer, "
        "and has not told this worker before\"}}\n";
    return (struct reply){
        .status = 503,
        .type = json_type,
        .headers = SLICE_LITERAL("Retry-After: 1\r\nMuster-Stale: true\r\n"),
        .body = slice_from(text, sizeof(text) - 1),
    };
}

/* ---- what the master says ---- */

/* The document with "stale":true as its last member; NULL if it is no object. */
static struct blob *mark_stale(const struct blob *body)
{
    static const char mark[] = ",\"stale\":true}\n";
    const char *end = body->len > 0 ? memrchr(body->data, '}', body->len) : NULL;
    if (body->len < 3 || body->data[0] != '{' || end == NULL)
        return NULL;
    struct buf text;
    buf_init(&text, 0);
    buf_append(&text, body->data, (size_t)(end - body->data));
    buf_append(&text, mark, sizeof(mark) - 1);
    struct blob *marked = buf_failed(&text) ? NULL : blob_new(buf_slice(&text));
    buf_fini(&text);
    return marked;
}

static struct reply document_reply(const struct view_route *route, const struct document *document,
                                   bool stale)
{
    struct reply reply = {
        .status = must_be_503(route) ? 503 : document->status,
        .type = slice_from_str(document->type),
        .headers = stale ? SLICE_LITERAL("Cache-Control: no-store\r\nMuster-Stale: true\r\n")
                         : SLICE_LITERAL("Cache-Control: no-store\r\n"),
    };
    if (stale && route->view != VIEW_METRICS)
        reply.blob = mark_stale(document->body);
    if (reply.blob == NULL)
        reply.blob = blob_ref(document->body);
    return reply;
}

enum { OWN_BODY_SIZE = 512 };

static struct reply choose_reply(const struct view_route *route, const struct document *document,
                                 bool stale, char own[OWN_BODY_SIZE])
{
    return document != NULL ? document_reply(route, document, stale)
                            : no_document(route, own, OWN_BODY_SIZE);
}

/* ---- waiting ---- */

static void on_document(struct document_waiter *waiter, const struct document *document, bool stale)
{
    struct view_wait *wait = (void *)((char *)waiter - offsetof(struct view_wait, waiter));
    char own[OWN_BODY_SIZE];
    struct reply reply = choose_reply(wait->route, document, stale, own);
    exchange_resume(&wait->exchange, &reply);
    free(wait);
}

static void on_cancel(struct exchange_wait *exchange)
{
    struct view_wait *wait = (void *)((char *)exchange - offsetof(struct view_wait, exchange));
    documents_leave(wait->route->handlers->parts.documents, &wait->waiter);
    free(wait);
}

/* ---- the handler ---- */

static struct slice header_value(const struct http_request *request, const char *bytes,
                                 struct slice name)
{
    const struct http_header *header = http_find_header(request, bytes, name);
    return header != NULL ? http_slice(bytes, header->value) : SLICE_LITERAL("");
}

static enum view_format choose_format(enum view view, const struct http_request *request,
                                      const char *bytes)
{
    struct slice accept = header_value(request, bytes, SLICE_LITERAL("Accept"));
    if (accept.len == 0)
        return VIEW_FORMAT_DEFAULT;
    bool metrics = view == VIEW_METRICS;
    struct slice special = metrics ? SLICE_LITERAL("application/openmetrics-text")
                                   : SLICE_LITERAL("application/health+json");
    struct slice plain = metrics ? SLICE_LITERAL("text/plain") : json_type;
    int weight = accept_weight(accept, special);
    if (weight <= 0 || weight < accept_weight(accept, plain))
        return VIEW_FORMAT_DEFAULT;
    return metrics ? VIEW_FORMAT_OPENMETRICS : VIEW_FORMAT_HEALTH_JSON;
}

/* False: the request has been answered. */
static bool check_token(struct conn *conn, const struct handlers *handlers,
                        const struct http_request *request, const char *bytes)
{
    const char *token = handlers->parts.config->management_token;
    if (token == NULL || token[0] == '\0') {
        exchange_answer_error(conn, 403,
                              "this needs a token, and none is configured (management { token })",
                              SLICE_LITERAL(""));
        return false;
    }
    struct slice given = header_value(request, bytes, SLICE_LITERAL("Authorization"));
    if (secret_check_bearer(given, slice_from_str(token)))
        return true;
    exchange_answer_error(conn, 401, "this needs Authorization: Bearer and the management token",
                          SLICE_LITERAL("WWW-Authenticate: Bearer realm=\"muster\"\r\n"));
    return false;
}

void handlers_answer_view(struct conn *conn, const struct http_request *request, const char *bytes,
                          void *context)
{
    const struct view_route *route = context;
    struct handlers *handlers = route->handlers;
    char own[OWN_BODY_SIZE];
    struct reply reply;

    if (route->view == VIEW_HEALTH_LIVE) {
        reply = live_reply(handlers, own, sizeof(own));
        exchange_answer(conn, &reply);
        return;
    }
    if (route->view == VIEW_HEALTH_PERFORMANCE && !check_token(conn, handlers, request, bytes))
        return;
    struct view_wait *wait = calloc(1, sizeof(*wait));
    if (wait == NULL) {
        exchange_answer_error(conn, 503, "out of memory", SLICE_LITERAL(""));
        return;
    }
    wait->route = route;
    wait->waiter.on_document = on_document;
    wait->exchange.on_cancel = on_cancel;
    const struct document *document;
    bool stale;
    if (!documents_get(handlers->parts.documents, route->view,
                       choose_format(route->view, request, bytes), handlers->parts.loop->now_ns,
                       &wait->waiter, &document, &stale)) {
        exchange_suspend(conn, &wait->exchange);
        return;
    }
    free(wait);
    reply = choose_reply(route, document, stale, own);
    exchange_answer(conn, &reply);
}
