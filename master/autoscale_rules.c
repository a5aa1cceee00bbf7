/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale_rules - the rules that are shipped, and which rules make sense.
 */
#include "master/autoscale_private.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add_rule(struct autoscale_rules *rules, const char *name, const char *metric,
                     enum autoscale_operator op, double threshold, enum autoscale_action action,
                     int amount, int priority)
{
    struct autoscale_rule *rule = &rules->rules[rules->rule_count++];
    snprintf(rule->name, sizeof(rule->name), "%s", name);
    snprintf(rule->metric, sizeof(rule->metric), "%s", metric);
    rule->op = op;
    rule->threshold = threshold;
    rule->action = action;
    rule->amount = amount;
    rule->priority = priority;
    rule->cooldown_ms = action == AUTOSCALE_TRACK ? 0 : 300 * 1000;
}

void autoscale_default_rules(int min_workers, int max_workers, struct autoscale_rules *out)
{
    *out = (struct autoscale_rules){
        .min_workers = min_workers,
        .max_workers = max_workers,
        .tolerance = 0.1,
        .stale_ms = 30 * 1000,
        .up = {.window_ms = 0,
               .pause_ms = 15000,
               .rates = {{.workers = 4, .period_ms = 5000}, {.percent = 100, .period_ms = 5000}},
               .rate_count = 2},
        .down = {.window_ms = 300 * 1000, .pause_ms = 60000},
        .flap_windows = 3,
        .emergency_queue = 1,
        .emergency_drain_ms = 3000,
        .emergency_percent = 100,
        .queue_metric = "queue",
    };
    add_rule(out, "cpu-target", "cpu", AUTOSCALE_GTE, 60, AUTOSCALE_TRACK, 0, 1);
    add_rule(out, "cpu-high", "cpu", AUTOSCALE_GTE, 80, AUTOSCALE_SCALE_UP, 2, 1);
    add_rule(out, "cpu-low", "cpu", AUTOSCALE_LTE, 30, AUTOSCALE_SCALE_DOWN, 1, 0);
    add_rule(out, "memory-high", "memory", AUTOSCALE_GTE, 85, AUTOSCALE_SCALE_UP, 1, 1);
    add_rule(out, "memory-low", "memory", AUTOSCALE_LTE, 50, AUTOSCALE_SCALE_DOWN, 1, 0);
}

/* ---- the check ---- */

static const char *wrong(char *buffer, int size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static const char *wrong(char *buffer, int size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, (size_t)size, format, arguments);
    va_end(arguments);
    return buffer;
}

/* Names stand in sentences, labels and messages. */
static bool is_name(const char name[AUTOSCALE_NAME_SIZE])
{
    size_t len = strnlen(name, AUTOSCALE_NAME_SIZE);
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-";
    return len > 0 && len < AUTOSCALE_NAME_SIZE && strspn(name, allowed) == len;
}

static const char *check_rule(const struct autoscale_rules *rules, int at, char *buffer, int size)
{
    const struct autoscale_rule *rule = &rules->rules[at];
    if (!is_name(rule->name))
        return wrong(buffer, size,
                     "rule %d: its name must be 1 to %d letters, digits or any of _ . : -", at + 1,
                     AUTOSCALE_NAME_SIZE - 1);
    for (int i = 0; i < at; i++)
        if (strcmp(rules->rules[i].name, rule->name) == 0)
            return wrong(buffer, size, "there are two rules named \"%s\"", rule->name);
    if (!is_name(rule->metric))
        return wrong(buffer, size, "rule \"%s\": its metric is no name of a metric", rule->name);
    if (!isfinite(rule->threshold))
        return wrong(buffer, size, "rule \"%s\": its threshold is no number", rule->name);
    if (rule->action == AUTOSCALE_TRACK && rule->threshold <= 0)
        return wrong(buffer, size, "rule \"%s\": its target must be above 0", rule->name);
    if (rule->action != AUTOSCALE_TRACK &&
        (rule->amount < 1 || rule->amount > AUTOSCALE_MAX_WORKERS))
        return wrong(buffer, size, "rule \"%s\": its amount must be 1 to %d workers", rule->name,
                     AUTOSCALE_MAX_WORKERS);
    if (rule->cooldown_ms < 0 || rule->cooldown_ms > AUTOSCALE_WINDOW_MAX_MS)
        return wrong(buffer, size, "rule \"%s\": its cooldown must be 0 to 24h", rule->name);
    return NULL;
}

static const char *check_direction(const struct autoscale_direction *direction, const char *name,
                                   char *buffer, int size)
{
    if (direction->window_ms < 0 || direction->window_ms > AUTOSCALE_WINDOW_MAX_MS)
        return wrong(buffer, size, "%s: the window must be 0 to 24h", name);
    if (direction->pause_ms < 0 || direction->pause_ms > AUTOSCALE_WINDOW_MAX_MS)
        return wrong(buffer, size, "%s: the pause must be 0 to 24h", name);
    if (direction->rate_count < 0 || direction->rate_count > AUTOSCALE_MAX_RATES)
        return wrong(buffer, size, "%s: there may be %d rates at most", name, AUTOSCALE_MAX_RATES);
    for (int i = 0; i < direction->rate_count; i++) {
        const struct autoscale_rate *rate = &direction->rates[i];
        bool is_one = (rate->workers > 0) != (rate->percent > 0);
        if (!is_one || rate->workers < 0 || rate->workers > AUTOSCALE_MAX_WORKERS ||
            rate->percent < 0 || rate->percent > 10000)
            return wrong(buffer, size,
                         "%s: rate %d must be workers (1 to %d) or percent (1 to 10000)", name,
                         i + 1, AUTOSCALE_MAX_WORKERS);
        if (rate->period_ms < 1000 || rate->period_ms > AUTOSCALE_WINDOW_MAX_MS)
            return wrong(buffer, size, "%s: the period of rate %d must be 1s to 24h", name, i + 1);
    }
    return NULL;
}

const char *autoscale_check_rules(const struct autoscale_rules *rules, char *buffer, int size)
{
    if (rules->min_workers < 1 || rules->max_workers < rules->min_workers ||
        rules->max_workers > AUTOSCALE_MAX_WORKERS)
        return wrong(buffer, size, "min %d and max %d must be 1 to %d, and min not above max",
                     rules->min_workers, rules->max_workers, AUTOSCALE_MAX_WORKERS);
    if (!(rules->tolerance >= 0 && rules->tolerance < 1))
        return wrong(buffer, size, "the tolerance must be 0 or more and below 1");
    if (rules->stale_ms < 1 || rules->stale_ms > AUTOSCALE_WINDOW_MAX_MS)
        return wrong(buffer, size, "metrics must be stale after 1ms to 24h");
    if (rules->flap_windows < 0 || rules->flap_windows > 100)
        return wrong(buffer, size, "the flap guard must add 0 to 100 windows");
    if (!(rules->emergency_queue >= 0 && rules->emergency_queue <= 100) ||
        rules->emergency_drain_ms < 0 || rules->emergency_drain_ms > AUTOSCALE_WINDOW_MAX_MS ||
        rules->emergency_percent < 0 || rules->emergency_percent > 10000)
        return wrong(buffer, size,
                     "an emergency must begin at 0 to 100 percent of the accept "
                     "queue, spare 0 to 24h, and add 0 to 10000 percent");
    if (rules->emergency_queue > 0 && !is_name(rules->queue_metric))
        return wrong(buffer, size, "the metric of the accept queue is no name of a metric");
    if (rules->rule_count < 0 || rules->rule_count > AUTOSCALE_MAX_RULES)
        return wrong(buffer, size, "there may be %d rules at most", AUTOSCALE_MAX_RULES);
    for (int i = 0; i < rules->rule_count; i++) {
        const char *why = check_rule(rules, i, buffer, size);
        if (why != NULL)
            return why;
    }
    const char *why = check_direction(&rules->up, "up", buffer, size);
    return why != NULL ? why : check_direction(&rules->down, "down", buffer, size);
}
