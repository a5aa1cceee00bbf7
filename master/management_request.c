/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_request - one request: whether it is allowed, its body, its answer.
 *
 * libmicrohttpd calls once for the head, then for each piece of the body, then
 * once more for the answer. What is wrong with the head is found at the first
 * call; when a body follows the answer goes out at once and the connection
 * closes, otherwise it waits for the last call and the connection stays open.
 */
#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"
#include "master/management_private.h"
#include "master/views.h"
#include "master/views_json.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char json_type[] = "application/json";

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

/* ---- answers ---- */

static void add_headers(const struct request *request, struct MHD_Response *response, int status,
                        const char *content_type)
{
    static const char *const every[][2] = {
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
        {"Referrer-Policy", "no-referrer"},
    };
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    for (size_t i = 0; i < ARRAY_COUNT(every); i++)
        (void)MHD_add_response_header(response, every[i][0], every[i][1]);
    if (status == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Bearer realm=\"muster\"");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
}

enum MHD_Result request_answer(struct request *request, int status, const char *content_type,
                               struct buf *body)
{
    static char no_memory[] = "{\"error\":{\"status\":500,\"message\":\"out of memory\"}}\n";
    struct MHD_Response *response;
    if (buf_failed(body)) {
        buf_fini(body);
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        content_type = json_type;
        response = MHD_create_response_from_buffer(sizeof(no_memory) - 1, no_memory,
                                                   MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_buffer_with_free_callback(body->len, body->ptr, free);
        if (response == NULL)
            buf_fini(body);
    }
    if (response == NULL)
        return MHD_NO;
    add_headers(request, response, status, content_type);
    enum MHD_Result result = MHD_queue_response(request->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result request_answer_error(struct request *request, int status, const char *message)
{
    struct buf body;
    struct doc doc;
    buf_init(&body, 0);
    doc_begin(&doc, &body);
    doc_object(&doc, NULL);
    doc_object(&doc, "error");
    doc_int(&doc, "status", status);
    doc_str(&doc, "message", message);
    if (request->near_path[0] != '\0') {
        doc_array(&doc, "routes");
        const struct route *route;
        for (int n = 0; (route = management_near_route(request->near_path, n)) != NULL; n++) {
            char text[96];
            snprintf(text, sizeof(text), "%s %s", route->method, route->path);
            doc_str(&doc, NULL, text);
        }
        doc_array_end(&doc);
    }
    doc_object_end(&doc);
    doc_object_end(&doc);
    doc_end(&doc);
    return request_answer(request, status, json_type, &body);
}

static bool accepts_html(const struct request *request)
{
    return management_accepts(request_header(request, MHD_HTTP_HEADER_ACCEPT), "text/html");
}

static enum MHD_Result answer_index(struct request *request)
{
    const struct route *route;
    bool html = accepts_html(request);
    struct buf body;
    buf_init(&body, 0);
    buf_append_str(&body, html ? "<!doctype html><meta charset=utf-8><title>Muster</title>"
                                 "<h1>Muster</h1><table>\n"
                               : "Muster management\n\n");
    for (int n = 0; (route = management_route(n)) != NULL; n++) {
        bool link = strcmp(route->method, "GET") == 0 && strchr(route->path, '{') == NULL;
        if (!html)
            buf_printf(&body, "%-6s %-33s  %s\n", route->method, route->path, route->help);
        else if (link)
            buf_printf(&body, "<tr><td>%s<td><a href=\"%s\">%s</a><td>%s\n", route->method,
                       route->path, route->path, route->help);
        else
            buf_printf(&body, "<tr><td>%s<td>%s<td>%s\n", route->method, route->path, route->help);
    }
    buf_append_str(&body, html ? "</table><p>Changes need <code>Authorization: Bearer TOKEN</code> "
                                 "or the Unix socket (musterctl).\n"
                               : "\nChanges need Authorization: Bearer TOKEN or the Unix socket "
                                 "(musterctl).\n");
    return request_answer(request, MHD_HTTP_OK,
                          html ? "text/html; charset=utf-8" : "text/plain; charset=utf-8", &body);
}

static enum MHD_Result answer_view(struct request *request, enum view view)
{
    const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);
    enum view_format format = VIEW_FORMAT_DEFAULT;
    if (view == VIEW_METRICS && management_accepts(accept, "application/openmetrics-text"))
        format = VIEW_FORMAT_OPENMETRICS;
    else if (view != VIEW_METRICS && management_accepts(accept, "application/health+json"))
        format = VIEW_FORMAT_HEALTH_JSON;
    struct buf body;
    struct view_result result;
    buf_init(&body, 0);
    if (view == VIEW_METRICS)
        command_publish(request->endpoint->management->master);
    view_render(request->endpoint->management->cluster, view, format, clock_monotonic_ms(), &body,
                &result);
    return request_answer(request, result.status, result.content_type, &body);
}

static enum MHD_Result answer_worker(struct request *request)
{
    const struct cluster *cluster = request->endpoint->management->cluster;
    struct buf body;
    buf_init(&body, 0);
    if (view_worker(cluster, request->slot, clock_monotonic_ms(), &body))
        return request_answer(request, MHD_HTTP_OK, json_type, &body);
    buf_fini(&body);
    char message[80];
    snprintf(message, sizeof(message), "there is no such slot; there are 0 to %d",
             cluster->roster->slot_count - 1);
    return request_answer_error(request, MHD_HTTP_NOT_FOUND, message);
}

static enum MHD_Result answer_document(struct request *request,
                                       void (*render)(const struct cluster *, int64_t,
                                                      struct buf *))
{
    struct buf body;
    buf_init(&body, 0);
    command_publish(request->endpoint->management->master);
    render(request->endpoint->management->cluster, clock_monotonic_ms(), &body);
    return request_answer(request, MHD_HTTP_OK, json_type, &body);
}

static enum MHD_Result answer_events(struct request *request)
{
    const char *text =
        MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "limit");
    int limit = management_parse_limit(text, EVENTS_KEPT);
    if (limit < 0) {
        char message[96];
        snprintf(message, sizeof(message), "limit is not a whole number from 1 to %d", EVENTS_KEPT);
        return request_answer_error(request, MHD_HTTP_BAD_REQUEST, message);
    }
    struct buf body;
    buf_init(&body, 0);
    view_events(request->endpoint->management->cluster, limit, &body);
    return request_answer(request, MHD_HTTP_OK, json_type, &body);
}

static enum MHD_Result answer(struct request *request)
{
    switch (request->route->kind) {
    case ROUTE_INDEX:
        return answer_index(request);
    case ROUTE_VIEW:
        return answer_view(request, (enum view)request->route->what);
    case ROUTE_STATUS:
        return answer_document(request, view_cluster_status);
    case ROUTE_WORKER:
        return answer_worker(request);
    case ROUTE_EVENTS:
        return answer_events(request);
    case ROUTE_SCALING:
        return answer_document(request, view_scaling_status);
    case ROUTE_CHANGE:
        return change_start(request);
    }
    return MHD_NO;
}

/* ---- whether it is allowed ---- */

__attribute__((format(printf, 3, 4))) static void refuse(struct request *request, int status,
                                                         const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(request->message, sizeof(request->message), format, arguments);
    va_end(arguments);
    request->refused = status;
}

/* At most one line a second, whatever knocks. */
static void log_refusal(struct request *request, const char *method, const char *url)
{
    struct management *management = request->endpoint->management;
    int64_t now_ms = clock_monotonic_ms();
    if (now_ms - management->refusal_logged_ms < 1000) {
        management->refusals_not_logged++;
        return;
    }
    log_warning("management request refused", LOG_STR("who", request->who),
                LOG_STR("method", method), LOG_STR("path", url),
                LOG_INT("status", request->refused), LOG_STR("reason", request->message),
                LOG_INT("not_logged", management->refusals_not_logged));
    management->refusal_logged_ms = now_ms;
    management->refusals_not_logged = 0;
}

static void name_client(struct request *request)
{
    const union MHD_ConnectionInfo *info;
    char address[INET6_ADDRSTRLEN] = "?";
    info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info != NULL && info->client_addr != NULL) {
        if (info->client_addr->sa_family == AF_INET) {
            const struct sockaddr_in *v4 = (const void *)info->client_addr;
            (void)inet_ntop(AF_INET, &v4->sin_addr, address, sizeof(address));
        } else if (info->client_addr->sa_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const void *)info->client_addr;
            (void)inet_ntop(AF_INET6, &v6->sin6_addr, address, sizeof(address));
        }
    }
    snprintf(request->who, sizeof(request->who), "%s", address);
    memcpy(request->client, address, sizeof(request->client));
}

/* The mode of the socket keeps others out; this is for a file system that
 * does not honour it. */
static void check_peer(struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        refuse(request, MHD_HTTP_FORBIDDEN, "who connects cannot be found out");
        return;
    }
    snprintf(request->who, sizeof(request->who), "uid %u pid %d over the Unix socket", peer.uid,
             peer.pid);
    if (peer.uid != 0 && peer.uid != geteuid())
        refuse(request, MHD_HTTP_FORBIDDEN,
               "only root and the user of the master may connect here");
}

static void check_host(struct request *request)
{
    const char *allowed = request->endpoint->management->config->management_allowed_hosts;
    const char *host = request_header(request, MHD_HTTP_HEADER_HOST);
    if (host == NULL)
        refuse(request, MHD_HTTP_BAD_REQUEST, "the request has no Host field");
    else if (!management_host_allowed(slice_from_str(host), allowed))
        refuse(request, MHD_HTTP_MISDIRECTED_REQUEST,
               "the Host \"%.64s\" is not a name of this server; use its address or localhost, or "
               "add the name to management { allowed_hosts = ... }",
               host);
}

static void check_token(struct request *request, const char *what)
{
    const char *token = request->endpoint->management->config->management_token;
    const char *given = request_header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    if (token[0] == '\0')
        refuse(request, MHD_HTTP_FORBIDDEN,
               "no token is configured, so %s is possible over the Unix socket only (musterctl); "
               "or set management { token_file = ... }",
               what);
    else if (given == NULL)
        refuse(request, MHD_HTTP_UNAUTHORIZED,
               "%s over TCP needs the token: Authorization: Bearer TOKEN", what);
    else if (!secret_check_bearer(slice_from_str(given), slice_from_str(token)))
        refuse(request, MHD_HTTP_UNAUTHORIZED, "the token is wrong");
}

static void check_route(struct request *request, const char *method, const char *url)
{
    switch (management_find_route(method, url, &request->route, &request->slot, request->allow,
                                  sizeof(request->allow))) {
    case ROUTE_FOUND:
        return;
    case ROUTE_NO_PATH:
        snprintf(request->near_path, sizeof(request->near_path), "%s", url);
        refuse(request, MHD_HTTP_NOT_FOUND, "there is no %.64s here", url);
        return;
    case ROUTE_NO_METHOD:
        refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "%.64s does not take %.16s; it takes %s", url,
               method, request->allow);
        return;
    }
}

static bool has_body(const struct request *request)
{
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL ||
           (length != NULL && strspn(length, "0") != strlen(length));
}

static void check_body(struct request *request)
{
    const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *type = request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);
    /* libmicrohttpd has checked that it is a number. */
    if (length != NULL && strtoull(length, NULL, 10) > MANAGEMENT_MAX_BODY)
        refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body may have %d bytes at most",
               MANAGEMENT_MAX_BODY);
    else if (request->route->kind == ROUTE_CHANGE && has_body(request) &&
             !management_is_json_type(type))
        refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
               "the body needs Content-Type: application/json, not %.64s",
               type != NULL ? type : "none");
}

static void check_head(struct request *request, const char *method, const char *url)
{
    const struct endpoint *endpoint = request->endpoint;
    name_client(request);
    if (endpoint->is_unix) {
        check_peer(request);
    } else {
        check_host(request);
        if (request->refused == 0 && !endpoint->loopback)
            check_token(request, "everything");
    }
    if (request->refused == 0)
        check_route(request, method, url);
    bool change = request->refused == 0 && request->route->kind == ROUTE_CHANGE;
    if (change && !endpoint->is_unix) {
        check_token(request, "a change");
        if (request->refused == 0)
            snprintf(request->who, sizeof(request->who), "token from %s", request->client);
    }
    if (request->refused == 0)
        check_body(request);
    if (request->refused != 0)
        log_refusal(request, method, url);
}

/* ---- libmicrohttpd's calls ---- */

static enum MHD_Result on_head(struct endpoint *endpoint, struct MHD_Connection *connection,
                               const char *url, const char *method, void **context)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL)
        return MHD_NO;
    request->endpoint = endpoint;
    request->connection = connection;
    buf_init(&request->body, MANAGEMENT_MAX_BODY);
    endpoint->management->request_count++;
    *context = request;

    check_head(request, method, url);
    if (request->refused != 0 && has_body(request))
        return request_answer_error(request, request->refused, request->message);
    return MHD_YES;
}

static enum MHD_Result on_data(struct request *request, const char *data, size_t size)
{
    request->body_seen += size;
    if (request->body_seen > MANAGEMENT_MAX_DISCARD)
        return MHD_NO;
    buf_append(&request->body, data, size);
    return MHD_YES;
}

enum MHD_Result request_on_access(void *endpoint, struct MHD_Connection *connection,
                                  const char *url, const char *method, const char *version,
                                  const char *data, size_t *data_size, void **context)
{
    struct request *request = *context;
    (void)version;
    if (request == NULL)
        return on_head(endpoint, connection, url, method, context);
    if (*data_size > 0) {
        size_t size = *data_size;
        *data_size = 0;
        return on_data(request, data, size);
    }
    if (request->change != NULL)
        return change_answer(request);
    if (request->refused == 0 && request->body_seen > MANAGEMENT_MAX_BODY)
        refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body may have %d bytes at most",
               MANAGEMENT_MAX_BODY);
    if (request->refused != 0)
        return request_answer_error(request, request->refused, request->message);
    return answer(request);
}

void request_on_completed(void *endpoint, struct MHD_Connection *connection, void **context,
                          enum MHD_RequestTerminationCode reason)
{
    struct request *request = *context;
    (void)endpoint;
    (void)connection;
    (void)reason;
    if (request == NULL)
        return;
    change_detach(request);
    request->endpoint->management->request_count--;
    buf_fini(&request->body);
    free(request);
    *context = NULL;
}
