/* SPDX-License-Identifier: BSD-2-Clause
 *
 * actions - what each command of musterctl does: requests, and what is printed.
 */
#include "master/ctl/actions.h"

#include "common/clock.h"
#include "common/units.h"
#include "master/ctl/show.h"

#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_TIMEOUT_MS = 10 * 1000,
    CHANGE_TIMEOUT_MS = 20 * 60 * 1000, /* longer than any canary_time and start_timeout */
};

__attribute__((format(printf, 1, 0))) static void print_failure(const char *format,
                                                                va_list arguments)
{
    fputs("musterctl: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_failure(format, arguments);
    va_end(arguments);
    return STATUS_FAILED;
}

int fail_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_failure(format, arguments);
    va_end(arguments);
    return STATUS_USAGE;
}

/* ---- requests ---- */

/* 0 and an answer, or the exit status after a message. */
static int request(const struct options *options, const char *method, const char *path,
                   const char *body, int64_t timeout_ms, struct client_response *out)
{
    char error[CLIENT_ERROR_SIZE];
    if (options->timeout_ms > 0)
        timeout_ms = options->timeout_ms;
    switch (client_request(&options->client, method, path, body, timeout_ms, out, error)) {
    case CLIENT_OK:
        return STATUS_OK;
    case CLIENT_UNREACHABLE:
        (void)fail("%s", error);
        if (options->client.host[0] == '\0')
            fputs("Is musterd running, and are you root or its user? --socket PATH or "
                  "MUSTER_RUN_DIR say where\nits run_dir is, if that is not the default.\n",
                  stderr);
        else
            fputs("Is musterd running, and is its management port at this address?\n", stderr);
        return STATUS_UNREACHABLE;
    case CLIENT_BROKEN:
    case CLIENT_TIMEOUT:
        return fail("%s%s", error, strcmp(method, "GET") != 0 ? "; the command may go on" : "");
    }
    return STATUS_FAILED;
}

/* What the server says is wrong; `fallback` when it does not say. */
static int report_refusal(const struct client_response *response)
{
    json_t *root = json_loadb(response->body, response->body_len, 0, NULL);
    const char *message =
        json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    int result = message != NULL ? fail("%s", message)
                                 : fail("the server answered with status %d", response->status);
    json_decref(root);
    return result;
}

/* A document of the server: as it is, or for people. A status of 503 is what
 * some documents say themselves. */
static int show_document(const struct options *options, const char *path,
                         void (*show)(const json_t *))
{
    struct client_response response;
    int result = request(options, "GET", path, NULL, READ_TIMEOUT_MS, &response);
    if (result != STATUS_OK)
        return result;
    json_error_t error;
    json_t *root = json_loadb(response.body, response.body_len, 0, &error);
    bool refused = json_object_get(root, "error") != NULL;
    if (root == NULL && response.status == 200)
        result = fail("what the server sent is not JSON: %s", error.text);
    else if (refused || root == NULL)
        result = report_refusal(&response);
    else
        result = response.status == 200 ? STATUS_OK : STATUS_FAILED;
    if (options->json && root != NULL)
        fputs(response.body, stdout);
    else if (root != NULL && !refused)
        show(root);
    json_decref(root);
    client_response_fini(&response);
    return result;
}

static int change(const struct options *options, const char *method, const char *path,
                  const char *body)
{
    char full[96];
    struct client_response response;
    snprintf(full, sizeof(full), "%s%s", path, options->no_wait ? "?wait=0" : "");
    int result = request(options, method, full, body, CHANGE_TIMEOUT_MS, &response);
    if (result != STATUS_OK)
        return result;
    bool ok = response.status >= 200 && response.status < 300;
    json_t *root = json_loadb(response.body, response.body_len, 0, NULL);
    if (options->json && root != NULL)
        fputs(response.body, stdout);
    else if (ok && root != NULL)
        show_change(root);
    if (!ok)
        result = report_refusal(&response);
    else if (root == NULL)
        result = fail("what the server sent is not JSON");
    json_decref(root);
    client_response_fini(&response);
    return result;
}

/* The body of a change, to be freed; NULL after a message. */
static char *change_body(const struct options *options, int instances)
{
    json_t *root = json_object();
    if (instances >= 0)
        (void)json_object_set_new(root, "instances", json_integer(instances));
    if (options->hold != NULL)
        (void)json_object_set_new(root, "for", json_string(options->hold));
    int set = 0;
    if (options->reason != NULL)
        set = json_object_set_new(root, "reason", json_string(options->reason));
    char *body = set == 0 ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (body == NULL)
        (void)fail("--reason is not UTF-8 text");
    return body;
}

static int change_with_reason(const struct options *options, const char *method, const char *path,
                              int instances)
{
    char *body = change_body(options, instances);
    if (body == NULL)
        return STATUS_USAGE;
    int result = change(options, method, path, body);
    free(body);
    return result;
}

/* ---- commands ---- */

int action_status(const struct options *options, const char *argument)
{
    (void)argument;
    return show_document(options, "/cluster/status", show_status);
}

static void print_worker_array(const json_t *status)
{
    const json_t *workers = json_object_get(status, "workers");
    if (workers == NULL || json_dumpf(workers, stdout, JSON_COMPACT) != 0)
        fputs("[]", stdout);
    putchar('\n');
}

int action_events(const struct options *options, const char *argument)
{
    (void)argument;
    return show_document(options, "/events", show_events);
}

int action_workers(const struct options *options, const char *argument)
{
    struct options shown = *options;
    (void)argument;
    shown.json = false; /* the array is only a part of what the server sends */
    return show_document(&shown, "/cluster/status",
                         options->json ? print_worker_array : show_workers);
}

int action_metrics(const struct options *options, const char *argument)
{
    struct client_response response;
    (void)argument;
    if (options->json)
        return fail_usage("metrics are text for Prometheus and have no JSON form; status --json "
                          "has the most important ones");
    int result = request(options, "GET", "/metrics", NULL, READ_TIMEOUT_MS, &response);
    if (result != STATUS_OK)
        return result;
    if (response.status == 200)
        fwrite(response.body, 1, response.body_len, stdout);
    else
        result = report_refusal(&response);
    client_response_fini(&response);
    return result;
}

int action_health(const struct options *options, const char *argument)
{
    (void)argument;
    return show_document(options, "/health", show_health);
}

int action_scale(const struct options *options, const char *argument)
{
    int64_t instances;
    const char *why;
    if (strcmp(argument, "auto") == 0) {
        if (options->hold != NULL) {
            return fail_usage("--for goes with a number of workers only");
        }
        return change_with_reason(options, "DELETE", "/scaling/manual", -1);
    }
    if (units_parse_number(slice_from_str(argument), &instances, &why) != 0 || instances > 99999) {
        return fail_usage("scale needs a number of workers or \"auto\", not \"%s\"", argument);
    }
    return change_with_reason(options, "POST", "/scaling/manual", (int)instances);
}

int action_restart(const struct options *options, const char *argument)
{
    char path[64];
    int64_t slot;
    const char *why;
    if (units_parse_number(slice_from_str(argument), &slot, &why) != 0 || slot > 99999) {
        return fail_usage("restart needs the number of a slot, not \"%s\"", argument);
    }
    snprintf(path, sizeof(path), "/cluster/workers/%d/restart", (int)slot);
    return change_with_reason(options, "POST", path, -1);
}

int action_reload(const struct options *options, const char *argument)
{
    (void)argument;
    return change_with_reason(options, "POST", "/cluster/reload", -1);
}

int action_upgrade(const struct options *options, const char *argument)
{
    (void)argument;
    return change_with_reason(options, "POST", "/cluster/upgrade", -1);
}

/* The master answers that it drains; that it is gone is the end of it. */
static int wait_until_gone(const struct options *options)
{
    int64_t timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : CHANGE_TIMEOUT_MS;
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        struct client_response response;
        char error[CLIENT_ERROR_SIZE];
        enum client_result result = client_request(&options->client, "GET", "/health/live", NULL,
                                                   READ_TIMEOUT_MS, &response, error);
        if (result == CLIENT_OK)
            client_response_fini(&response);
        if (result == CLIENT_UNREACHABLE)
            return STATUS_OK;
        if (clock_monotonic_ms() >= deadline_ms)
            return fail("not drained within %.3g s; it goes on", (double)timeout_ms / 1e3);
        (void)poll(NULL, 0, 100);
    }
}

int action_drain(const struct options *options, const char *argument)
{
    (void)argument;
    int result = change_with_reason(options, "POST", "/cluster/drain", -1);
    if (result != STATUS_OK || options->no_wait)
        return result;
    fflush(stdout);
    result = wait_until_gone(options);
    if (result == STATUS_OK && !options->json)
        puts("drained");
    return result;
}
