/* SPDX-License-Identifier: BSD-2-Clause
 *
 * show - the documents of the management server as people read them.
 */
#include "master/ctl/show.h"

#include "master/ctl/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL ? value : "";
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static enum colour colour_of(const char *state)
{
    static const struct {
        const char *state;
        enum colour colour;
    } colours[] = {
        {"ready", COLOUR_GOOD},    {"ok", COLOUR_GOOD},       {"running", COLOUR_GOOD},
        {"starting", COLOUR_BUSY}, {"draining", COLOUR_BUSY}, {"stopping", COLOUR_BUSY},
        {"degraded", COLOUR_BUSY}, {"suspect", COLOUR_BAD},   {"backoff", COLOUR_BAD},
        {"down", COLOUR_BAD},
    };
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
        if (strcmp(state, colours[i].state) == 0)
            return colours[i].colour;
    return COLOUR_NONE;
}

/* ---- workers ---- */

static const char *const worker_heads[] = {"SLOT",     "STATE",    "PID",    "GEN",      "UPTIME",
                                           "RESTARTS", "CPU%",     "RSS",    "CONN",     "WS",
                                           "REQ/S",    "REQUESTS", "LAG ms", "LAST EXIT"};
enum { WORKER_COLUMNS = sizeof(worker_heads) / sizeof(worker_heads[0]) };
#define WORKER_LEFT (1U << 1 | 1U << (WORKER_COLUMNS - 1))

static void add_last_exit(struct table *table, const json_t *worker)
{
    const json_t *last = json_object_get(worker, "last_exit");
    if (json_is_object(last))
        table_add(table, COLOUR_NONE, "%s (%s)", text(last, "cause"), text(last, "reason"));
    else
        table_add(table, COLOUR_NONE, "-");
}

static void add_numbers(struct table *table, const json_t *worker)
{
    char buffer[SHORT_SIZE];
    if (json_is_null(json_object_get(worker, "pid"))) {
        for (int column = 2; column < WORKER_COLUMNS - 1; column++) {
            if (strcmp(worker_heads[column], "RESTARTS") == 0)
                table_add(table, COLOUR_NONE, "%s",
                          short_count(number(worker, "restarts"), buffer));
            else
                table_add(table, COLOUR_NONE, "-");
        }
        return;
    }
    table_add(table, COLOUR_NONE, "%.0f", number(worker, "pid"));
    table_add(table, COLOUR_NONE, "%.0f", number(worker, "generation"));
    table_add(table, COLOUR_NONE, "%s", short_seconds(number(worker, "uptime"), buffer));
    table_add(table, COLOUR_NONE, "%s", short_count(number(worker, "restarts"), buffer));
    table_add(table, COLOUR_NONE, "%.1f", number(worker, "cpu_percent"));
    table_add(table, COLOUR_NONE, "%s", short_bytes(number(worker, "rss_bytes"), buffer));
    table_add(table, COLOUR_NONE, "%s", short_count(number(worker, "connections"), buffer));
    table_add(table, COLOUR_NONE, "%s", short_count(number(worker, "websockets"), buffer));
    table_add(table, COLOUR_NONE, "%s", short_count(number(worker, "request_rate"), buffer));
    table_add(table, COLOUR_NONE, "%s", short_count(number(worker, "requests"), buffer));
    table_add(table, COLOUR_NONE, "%.1f", number(worker, "loop_lag_ms"));
}

/* What goes on in a slot besides the worker that stands for it. */
static void add_notes(struct table *table, const json_t *worker)
{
    char a[SHORT_SIZE];
    const json_t *backoff = json_object_get(worker, "backoff_remaining_ms");
    if (json_is_number(backoff))
        table_note(table, "      starts again in %s",
                   short_seconds(json_number_value(backoff) / 1e3, a));
    if (text(worker, "suspect_reason")[0] != '\0')
        table_note(table, "      %s", text(worker, "suspect_reason"));
    const json_t *next = json_object_get(worker, "replacement");
    if (json_is_object(next))
        table_note(table, "      pid %.0f of generation %.0f is %s since %s", number(next, "pid"),
                   number(next, "generation"), text(next, "state"),
                   short_seconds(number(next, "since"), a));
    const json_t *all = json_object_get(worker, "draining");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *old = json_array_get(all, i);
        table_note(table, "      pid %.0f of generation %.0f drains (%s) and %s",
                   number(old, "pid"), number(old, "generation"), text(old, "reason"),
                   text(old, "waits_for"));
    }
}

void show_workers(const json_t *status)
{
    struct table table;
    const json_t *workers = json_object_get(status, "workers");
    table_init(&table, worker_heads, WORKER_COLUMNS, WORKER_LEFT);
    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *worker = json_array_get(workers, i);
        const char *state = text(worker, "state");
        table_add(&table, COLOUR_NONE, "%.0f", number(worker, "slot"));
        table_add(&table, colour_of(state), "%s", state);
        add_numbers(&table, worker);
        add_last_exit(&table, worker);
        add_notes(&table, worker);
    }
    table_print(&table);
    table_fini(&table);
}

/* ---- status ---- */

__attribute__((format(printf, 2, 3))) static void print_line(const char *head, const char *format,
                                                             ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    printf("%-12s", head);
    print_text(COLOUR_NONE, line);
    putchar('\n');
}

static void show_head(const json_t *status)
{
    const char *health = text(status, "health");
    const json_t *master = json_object_get(status, "master");
    char a[SHORT_SIZE], b[SHORT_SIZE];
    printf("%-12s", "Muster");
    print_text(COLOUR_NONE, text(status, "version"));
    fputs(", ", stdout);
    print_text(colour_of(text(status, "state")), text(status, "state"));
    fputs(", ", stdout);
    print_text(colour_of(health), health);
    putchar('\n');
    print_line("master", "pid %.0f, up %s, %.1f%% CPU, %s", number(master, "pid"),
               short_seconds(number(status, "uptime"), a), number(master, "cpu_percent"),
               short_bytes(number(master, "rss_bytes"), b));
}

static void show_counts(const json_t *status)
{
    const json_t *counts = json_object_get(status, "worker_counts");
    static const char *const others[] = {"starting", "suspect", "draining", "backoff"};
    char line[200];
    int len = snprintf(line, sizeof(line), "%.0f ready of %.0f", number(counts, "ready"),
                       number(counts, "desired"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (number(counts, others[i]) > 0 && (size_t)len < sizeof(line))
            len += snprintf(line + len, sizeof(line) - (size_t)len, ", %.0f %s",
                            number(counts, others[i]), others[i]);
    print_line("workers", "%s (configured %.0f, min %.0f, max %.0f)", line,
               number(counts, "configured"), number(counts, "min"), number(counts, "max"));
}

static void show_manual(const json_t *status)
{
    const json_t *manual = json_object_get(status, "manual");
    const json_t *remaining = json_object_get(manual, "remaining");
    char a[SHORT_SIZE], rest[64] = "until `musterctl scale auto`";
    if (!json_is_object(manual))
        return;
    if (json_is_number(remaining))
        snprintf(rest, sizeof(rest), "for another %s",
                 short_seconds(json_number_value(remaining), a));
    const char *reason = text(manual, "reason");
    print_line("manual", "%.0f workers %s%s%s (%s)", number(manual, "instances"), rest,
               reason[0] != '\0' ? ": " : "", reason, text(manual, "who"));
}

static void show_progress(const json_t *reload)
{
    const json_t *canary = json_object_get(reload, "canary");
    char a[SHORT_SIZE];
    if (!is_true(reload, "running"))
        return;
    if (strcmp(text(reload, "phase"), "rolling") == 0)
        print_line("", "%.0f of %.0f workers replaced", number(reload, "replaced"),
                   number(reload, "to_replace"));
    else if (json_is_number(json_object_get(canary, "remaining")))
        print_line("", "the canary, pid %.0f, has to stay well for another %s",
                   number(canary, "pid"), short_seconds(number(canary, "remaining"), a));
    else if (json_is_object(canary))
        print_line("", "the canary, pid %.0f, is %s", number(canary, "pid"), text(canary, "state"));
}

static void show_reload(const json_t *status)
{
    const json_t *reload = json_object_get(status, "reload");
    if (!json_is_object(reload)) {
        print_line("generation", "%.0f", number(status, "generation"));
        return;
    }
    print_line("generation", "%.0f, %s at %s%s%s", number(status, "generation"),
               is_true(reload, "running")  ? "reload running, begun"
               : is_true(reload, "failed") ? "last reload FAILED"
                                           : "last reload ok",
               is_true(reload, "running") ? text(reload, "started_at")
                                          : text(reload, "finished_at"),
               text(reload, "message")[0] != '\0' ? ": " : "", text(reload, "message"));
    show_progress(reload);
}

static void show_binary(const json_t *status)
{
    const json_t *binary = json_object_get(status, "worker_binary");
    if (is_true(binary, "binary_changed_on_disk"))
        print_line("binary", "%s has changed on disk; a reload would take it",
                   text(binary, "path"));
}

static void show_listeners(const json_t *status)
{
    const json_t *listeners = json_object_get(status, "listeners");
    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *listener = json_array_get(listeners, i);
        const json_t *queue = json_object_get(listener, "queue");
        char waiting[48] = "";
        if (json_is_number(queue))
            snprintf(waiting, sizeof(waiting), ", %.0f waiting", json_number_value(queue));
        print_line(i == 0 ? "listening" : "", "%s (%s), %s, %.0f %s%s%s", text(listener, "address"),
                   text(listener, "name"), text(listener, "policy"), number(listener, "slots"),
                   number(listener, "slots") > 1 ? "slots" : "slot",
                   is_true(listener, "inherited") ? ", inherited" : "", waiting);
    }
}

static void show_traffic(const json_t *status)
{
    const json_t *totals = json_object_get(status, "totals");
    const json_t *rates = json_object_get(status, "rates");
    const json_t *now = json_object_get(status, "now");
    const json_t *recent = json_object_get(json_object_get(status, "latency_ms"), "recent");
    char a[SHORT_SIZE], b[SHORT_SIZE], c[SHORT_SIZE];
    print_line("requests", "%s/s, %.2f%% errors, %s in all",
               short_count(number(rates, "requests"), a), number(rates, "error_rate") * 100,
               short_count(number(totals, "requests"), b));
    print_line("latency", "p50 %.3g ms, p95 %.3g ms, p99 %.3g ms", number(recent, "p50"),
               number(recent, "p95"), number(recent, "p99"));
    print_line("connections", "%s open, %s in flight, %s WebSockets",
               short_count(number(now, "connections"), a), short_count(number(now, "in_flight"), b),
               short_count(number(now, "websockets"), c));
    const json_t *budget = json_object_get(status, "restart_budget");
    if (is_true(budget, "exhausted"))
        print_line("restarts", "SLOWED DOWN: %.0f in %s, the budget is %.0f",
                   number(budget, "used"), short_seconds(number(budget, "interval"), a),
                   number(budget, "limit"));
}

void show_status(const json_t *status)
{
    show_head(status);
    show_counts(status);
    show_manual(status);
    show_reload(status);
    show_binary(status);
    show_listeners(status);
    show_traffic(status);
    putchar('\n');
    show_workers(status);
}

/* ---- the rest ---- */

void show_health(const json_t *health)
{
    const char *word = text(health, "status");
    print_text(colour_of(word), word);
    printf(": %.0f workers ready, %.0f connections\n", number(health, "workers_ready"),
           number(health, "active_connections"));
}

/* The newest last, as in a log. */
void show_events(const json_t *events)
{
    for (size_t left = json_array_size(events); left > 0; left--) {
        const json_t *event = json_array_get(events, left - 1);
        const json_t *slot = json_object_get(event, "slot");
        char where[32] = "";
        if (json_is_integer(slot))
            snprintf(where, sizeof(where), "slot %.0f: ", json_number_value(slot));
        printf("%-24s  ", text(event, "time"));
        print_text(COLOUR_HEAD, text(event, "kind"));
        printf("%*s  %s", (int)(11 - strnlen(text(event, "kind"), 11)), "", where);
        print_text(COLOUR_NONE, text(event, "text"));
        putchar('\n');
    }
}

void show_change(const json_t *change)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(change, "changes"), i, item)
    {
        print_text(COLOUR_NONE, text(item, "key"));
        fputs(": ", stdout);
        print_text(COLOUR_NONE, text(item, "from"));
        fputs(" -> ", stdout);
        print_text(COLOUR_NONE, text(item, "to"));
        putchar('\n');
    }
    print_text(COLOUR_NONE, text(change, "message"));
    putchar('\n');
}
