/* SPDX-License-Identifier: BSD-2-Clause
 *
 * scaling - musterctl scaling replay: a trace under the three policies, as a table
 * and with each decision of Muster explained, or as JSON.
 */
#include "master/ctl/scaling.h"

#include "master/ctl/replay.h"
#include "master/ctl/table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* 1:02:03 */
static const char *clock_text(int64_t seconds, char out[SHORT_SIZE])
{
    snprintf(out, SHORT_SIZE, "%lld:%02lld:%02lld", (long long)seconds / 3600,
             (long long)seconds / 60 % 60, (long long)seconds % 60);
    return out;
}

/* ---- for people ---- */

static void print_summary(const struct trace *trace, const struct replay_result *results)
{
    char above[SHORT_SIZE];
    snprintf(above, sizeof(above), "S ABOVE %g%%", trace->threshold);
    const char *const heads[] = {"POLICY", above, "WORKER-S", "CHANGES", "MOST", "LOST"};
    struct table table;
    table_init(&table, heads, 6, 1U);
    for (int i = 0; i < REPLAY_POLICIES; i++) {
        table_add(&table, COLOUR_NONE, "%s", replay_policies[i].name);
        table_add(&table, COLOUR_NONE, "%lld", (long long)results[i].seconds_above);
        table_add(&table, COLOUR_NONE, "%.0f", results[i].worker_seconds);
        table_add(&table, COLOUR_NONE, "%zu", results[i].change_count);
        table_add(&table, COLOUR_NONE, "%d", results[i].most_workers);
        table_add(&table, COLOUR_NONE, "%.0f", results[i].lost_requests);
    }
    table_print(&table);
    table_fini(&table);
}

static void print_changes(const struct replay_result *result)
{
    char at[SHORT_SIZE];
    printf("\nWhat %s would have done:\n", replay_policies[0].name);
    for (size_t i = 0; i < result->change_count; i++) {
        const struct replay_change *change = &result->changes[i];
        printf("%9s  %3d -> %-3d  ", clock_text(change->second, at), change->from, change->to);
        print_text(COLOUR_NONE, change->text != NULL ? change->text : "");
        putchar('\n');
    }
    if (result->change_count == 0)
        puts("  nothing");
}

static void print_people(const char *path, const struct trace *trace,
                         const struct replay_result *results)
{
    char length[SHORT_SIZE];
    print_text(COLOUR_HEAD, path);
    printf(": %s, %lld to %lld workers, a new one serves after %lld s, target %g %%\n\n",
           short_seconds((double)trace->seconds, length), (long long)trace->min_workers,
           (long long)trace->max_workers, (long long)trace->start_time_ms / 1000, trace->target);
    print_summary(trace, results);
    print_changes(&results[0]);
}

/* ---- for programs ---- */

static json_t *policy_json(const struct trace *trace, const struct replay_result *result)
{
    json_t *workers = json_array(), *changes = json_array();
    json_array_append_new(workers, json_pack("[i,I]", 0, (json_int_t)trace->min_workers));
    for (size_t i = 0; i < result->change_count; i++) {
        const struct replay_change *change = &result->changes[i];
        json_array_append_new(workers, json_pack("[I,i]", (json_int_t)change->second, change->to));
        json_array_append_new(changes, json_pack("{s:I,s:i,s:i,s:s?}", "second",
                                                 (json_int_t)change->second, "from", change->from,
                                                 "to", change->to, "text", change->text));
    }
    return json_pack("{s:I,s:f,s:I,s:i,s:f,s:o,s:o}", "seconds_above_threshold",
                     (json_int_t)result->seconds_above, "worker_seconds", result->worker_seconds,
                     "change_count", (json_int_t)result->change_count, "most_workers",
                     result->most_workers, "lost_requests", result->lost_requests, "workers",
                     workers, "changes", changes);
}

static int print_json(const char *path, const struct trace *trace,
                      const struct replay_result *results)
{
    json_t *policies = json_object();
    for (int i = 0; i < REPLAY_POLICIES; i++)
        (void)json_object_set_new(policies, replay_policies[i].name,
                                  policy_json(trace, &results[i]));
    json_t *root =
        json_pack("{s:s,s:I,s:f,s:f,s:I,s:I,s:o}", "trace", path, "seconds",
                  (json_int_t)trace->seconds, "threshold_percent", trace->threshold,
                  "target_percent", trace->target, "min_workers", (json_int_t)trace->min_workers,
                  "max_workers", (json_int_t)trace->max_workers, "policies", policies);
    int result = STATUS_OK;
    if (root == NULL || json_dumpf(root, stdout, JSON_COMPACT) != 0)
        result = fail("%s cannot be written as JSON", path);
    putchar('\n');
    json_decref(root);
    return result;
}

int action_scaling(const struct options *options, const char *argument)
{
    char error[TRACE_ERROR_SIZE];
    struct trace trace;
    struct replay_result results[REPLAY_POLICIES] = {0};
    int result = STATUS_OK;
    if (trace_read(argument, &trace, error) != 0)
        return fail("%s", error);
    for (int i = 0; i < REPLAY_POLICIES && result == STATUS_OK; i++)
        if (replay_run(&trace, &replay_policies[i], &results[i]) != 0)
            result = fail("out of memory");
    if (result == STATUS_OK && options->json)
        result = print_json(argument, &trace, results);
    else if (result == STATUS_OK)
        print_people(argument, &trace, results);
    for (int i = 0; i < REPLAY_POLICIES; i++)
        replay_result_fini(&results[i]);
    trace_fini(&trace);
    return result;
}
