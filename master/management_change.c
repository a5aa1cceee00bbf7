/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_change - commands from outside: started, waited for, written down.
 *
 * A change lives from the request until the command has ended, also when the
 * client goes away meanwhile: how it ended belongs in the log in any case.
 * While its request waits libmicrohttpd does not look at the connection, so
 * an event of our own notices a client that leaves.
 */
#include "common/log.h"
#include "master/management_private.h"
#include "master/reload_changes.h"
#include "master/views_json.h"
#include "version.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_TEXT_SIZE = 48 };

struct change {
    TAILQ_ENTRY(change) in_list;
    struct management *management;
    struct request *request; /* NULL: nobody waits */
    struct command command;
    char from[STATE_TEXT_SIZE];
    char to[STATE_TEXT_SIZE];
    bool started; /* command_run() has returned */
    bool done;
    struct command_result result;   /* without its changes */
    struct reload_changes *changes; /* a copy, owned; NULL: none, or no memory */
};

/* What a command changes, as it is now. */
static void describe_state(const struct change *change, char *out, size_t size)
{
    const struct cluster *cluster = change->management->cluster;
    const struct roster *roster = cluster->roster;
    const struct worker *worker;
    switch (change->command.kind) {
    case COMMAND_SCALE:
    case COMMAND_SCALE_AUTO:
        snprintf(out, size, "%d workers", roster->desired);
        return;
    case COMMAND_RESTART:
        worker = slot_ready_worker(&roster->slots[change->command.slot]);
        if (worker != NULL)
            snprintf(out, size, "slot %d pid %d", change->command.slot, worker->pid);
        else
            snprintf(out, size, "slot %d without a ready worker", change->command.slot);
        return;
    case COMMAND_RELOAD:
        snprintf(out, size, "generation %llu", (unsigned long long)roster->generation);
        return;
    case COMMAND_UPGRADE:
        snprintf(out, size, "version %s", MUSTER_VERSION);
        return;
    case COMMAND_DRAIN:
        snprintf(out, size, "%s",
                 cluster->state == CLUSTER_DRAINING || cluster->state == CLUSTER_STOPPING
                     ? "draining"
                     : "serving");
        return;
    case COMMAND_KIND_COUNT:
        break;
    }
    snprintf(out, size, "?");
}

static void write_down(const struct change *change, const char *result, const char *message)
{
    const char *reason = change->command.reason;
    log_notice("change", LOG_STR("who", change->command.who),
               LOG_STR("what", command_kind_name(change->command.kind)),
               LOG_STR("from", change->from), LOG_STR("to", change->to),
               LOG_STR("reason", reason[0] != '\0' ? reason : NULL), LOG_STR("result", result),
               LOG_STR("message", message));
}

static void change_free(struct change *change)
{
    TAILQ_REMOVE(&change->management->changes, change, in_list);
    change->management->change_count--;
    free(change->changes);
    free(change);
}

static void stop_waiting(struct request *request)
{
    if (request->watch != NULL)
        event_free(request->watch);
    request->watch = NULL;
    if (!request->suspended)
        return; /* the client left, and the end came before anything else happened */
    request->suspended = false;
    MHD_resume_connection(request->connection);
    endpoint_wake(request->endpoint);
}

static void on_done(void *context, const struct command_result *result)
{
    struct change *change = context;
    change->done = true;
    change->result = *result;
    change->result.changes = NULL; /* only there during the call */
    if (result->changes != NULL && (change->changes = malloc(sizeof(*change->changes))) != NULL)
        *change->changes = *result->changes;
    /* A drain answers when it has been accepted, which is before it begins. */
    if (change->command.kind == COMMAND_DRAIN && result->ok)
        snprintf(change->to, sizeof(change->to), "draining");
    else
        describe_state(change, change->to, sizeof(change->to));
    write_down(change, result->ok ? "done" : "failed", result->message);
    if (!change->started)
        return; /* change_start() goes on */
    if (change->request != NULL)
        stop_waiting(change->request);
    else
        change_free(change);
}

/* ---- while a request waits ---- */

static void on_client(evutil_socket_t fd, short what, void *context)
{
    struct request *request = context;
    char byte;
    (void)what;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        /* The next request already. It stays in the kernel until this one is
         * answered, and hides whether the client leaves. */
        event_free(request->watch);
        request->watch = NULL;
        return;
    }
    log_info("a client did not wait for the end of its change, which goes on",
             LOG_STR("who", request->who));
    stop_waiting(request);
}

static enum MHD_Result wait_for_end(struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct event_base *base = request->endpoint->management->base;
    request->watch = event_new(base, info->connect_fd, EV_READ | EV_PERSIST, on_client, request);
    if (request->watch != NULL && event_add(request->watch, NULL) != 0) {
        event_free(request->watch);
        request->watch = NULL; /* it waits all the same */
    }
    request->suspended = true;
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

static enum MHD_Result answer_result(struct request *request, const struct change *change)
{
    const struct command_result *result = &change->result;
    int status = change->done ? result->http_status : MHD_HTTP_ACCEPTED;
    if (change->done && !result->ok)
        return request_answer_error(request, status >= 400 ? status : 500, result->message);
    /* A drain is accepted: the master that could say how it ended is gone then. */
    bool over = change->done && status != MHD_HTTP_ACCEPTED;
    struct buf body;
    struct doc doc;
    buf_init(&body, 0);
    doc_begin(&doc, &body);
    doc_object(&doc, NULL);
    doc_bool(&doc, "ok", true);
    doc_bool(&doc, "done", over);
    doc_str(&doc, "command", command_kind_name(change->command.kind));
    doc_str(&doc, "from", change->from);
    doc_str(&doc, "to", over ? change->to : NULL);
    doc_str(&doc, "message",
            change->done ? result->message : "started; GET /cluster/status tells how it goes");
    if (change->changes != NULL)
        doc_changes(&doc, "changes", change->changes);
    doc_object_end(&doc);
    doc_end(&doc);
    return request_answer(request, over ? MHD_HTTP_OK : MHD_HTTP_ACCEPTED, "application/json",
                          &body);
}

enum MHD_Result change_answer(struct request *request)
{
    struct change *change = request->change;
    enum MHD_Result answered = answer_result(request, change);
    change_detach(request);
    return answered;
}

void change_detach(struct request *request)
{
    struct change *change = request->change;
    if (request->watch != NULL)
        event_free(request->watch);
    request->watch = NULL;
    request->change = NULL;
    if (change == NULL)
        return;
    change->request = NULL;
    if (change->done)
        change_free(change);
}

int management_keep_client(const void *change_in)
{
    const struct change *change = change_in;
    if (change->request == NULL || !change->request->suspended)
        return -1;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(change->request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return fcntl(info->connect_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

void change_abandon_all(struct management *management)
{
    struct change *change, *next;
    for (change = TAILQ_FIRST(&management->changes); change != NULL; change = next) {
        next = TAILQ_NEXT(change, in_list);
        if (change->done)
            continue; /* its request is being answered */
        command_forget(management->master, change);
        change->done = true;
        change->result = (struct command_result){.http_status = 503};
        snprintf(change->result.message, sizeof(change->result.message),
                 "the master ends before this was done");
        write_down(change, "abandoned", change->result.message);
        if (change->request != NULL)
            stop_waiting(change->request);
        else
            change_free(change);
    }
}

/* ---- the start ---- */

struct query {
    bool wait;
    char unknown[32]; /* a key that is not known, or a value */
    bool bad_value;
};

static enum MHD_Result on_query(void *context, enum MHD_ValueKind kind, const char *key,
                                const char *value)
{
    struct query *query = context;
    (void)kind;
    if (strcmp(key, "wait") != 0) {
        snprintf(query->unknown, sizeof(query->unknown), "%s", key);
        return MHD_NO;
    }
    if (value != NULL && (strcmp(value, "0") == 0 || strcmp(value, "1") == 0)) {
        query->wait = value[0] == '1';
        return MHD_YES;
    }
    query->bad_value = true;
    return MHD_NO;
}

/* False when the request has been answered with an error. */
static bool read_request(struct request *request, struct command *command, bool *wait,
                         enum MHD_Result *answered)
{
    struct management *management = request->endpoint->management;
    struct query query = {.wait = true};
    char message[MANAGEMENT_MESSAGE_SIZE] = "";
    int status = MHD_HTTP_BAD_REQUEST;

    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, on_query, &query);
    *wait = query.wait;
    *command =
        (struct command){.kind = (enum command_kind)request->route->what, .slot = request->slot};
    memcpy(command->who, request->who, sizeof(command->who));
    int slot_count = management->cluster->roster->slot_count;
    if (query.unknown[0] != '\0') {
        snprintf(message, sizeof(message), "unknown query argument \"%s\"; known here: wait",
                 query.unknown);
    } else if (query.bad_value) {
        snprintf(message, sizeof(message), "wait must be 0 (answer at once) or 1");
    } else if (command->kind == COMMAND_RESTART &&
               (command->slot < 0 || command->slot >= slot_count)) {
        status = MHD_HTTP_NOT_FOUND;
        snprintf(message, sizeof(message), "there is no such slot; there are 0 to %d",
                 slot_count - 1);
    } else if (management->change_count >= MANAGEMENT_MAX_CHANGES) {
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
        snprintf(message, sizeof(message), "%d changes are under way already",
                 management->change_count);
    } else if (management_parse_body(buf_slice(&request->body), management->cluster, command,
                                     message, sizeof(message))) {
        return true;
    }
    *answered = request_answer_error(request, status, message);
    return false;
}

enum MHD_Result change_start(struct request *request)
{
    struct management *management = request->endpoint->management;
    struct command command;
    bool wait;
    enum MHD_Result answered;
    if (!read_request(request, &command, &wait, &answered))
        return answered;
    struct change *change = calloc(1, sizeof(*change));
    if (change == NULL)
        return request_answer_error(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
    change->management = management;
    change->command = command;
    TAILQ_INSERT_TAIL(&management->changes, change, in_list);
    management->change_count++;
    describe_state(change, change->from, sizeof(change->from));
    snprintf(change->to, sizeof(change->to), "not known yet");

    command_run(management->master, &change->command, on_done, change);
    change->started = true;
    if (wait && !change->done) {
        request->change = change;
        change->request = request;
        return wait_for_end(request);
    }
    answered = answer_result(request, change);
    if (change->done)
        change_free(change);
    return answered;
}
