/* SPDX-License-Identifier: BSD-2-Clause
 *
 * autoscale_text - a decision as one sentence:
 *
 *   6 workers, 2 more than before: "cpu-target" wants 8 (cpu 91.2 over 15s); rate
 *   made it 6 instead of 8; "memory-high" has no data.
 */
#include "common/units.h"
#include "master/autoscale_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sentence {
    char *text;
    size_t len;
};

static void say(struct sentence *sentence, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct sentence *sentence, const char *format, ...)
{
    size_t left = AUTOSCALE_TEXT_SIZE - sentence->len;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(sentence->text + sentence->len, left, format, arguments);
    va_end(arguments);
    if (len > 0)
        sentence->len += (size_t)len < left ? (size_t)len : left - 1;
}

static void say_change(struct sentence *sentence, const struct autoscale_decision *decision)
{
    int change = decision->result - decision->current;
    say(sentence, "%d %s, ", decision->result, decision->result == 1 ? "worker" : "workers");
    if (change == 0)
        say(sentence, "as before: ");
    else
        say(sentence, "%d %s than before: ", change > 0 ? change : -change,
            change > 0 ? "more" : "fewer");
}

static void say_metric(struct sentence *sentence, const struct autoscale_metric *metric)
{
    char window[UNITS_TEXT_SIZE];
    units_format_duration(metric->window_ms > 0 ? metric->window_ms : 0, window);
    say(sentence, " (%s %.4g", metric->name, metric->value);
    if (metric->window_ms > 0)
        say(sentence, " over %s", window);
    if (metric->silent > 0)
        say(sentence, ", %d silent", metric->silent);
    say(sentence, ")");
}

/* The rule that decided, or why there is none. */
static void say_reason(struct sentence *sentence, const struct autoscale_decision *decision)
{
    const struct autoscale_wish *chosen = NULL;
    for (int i = 0; i < decision->wish_count && chosen == NULL; i++)
        if (decision->wishes[i].decided)
            chosen = &decision->wishes[i];
    if (decision->emergency > 0)
        say(sentence, "the accept queue fills, which asks for %d", decision->emergency);
    else if (chosen == NULL)
        say(sentence, "no rule wishes anything");
    else if (chosen->verdict == AUTOSCALE_IN_BAND)
        say(sentence, "\"%s\" is close to its target", chosen->rule);
    else
        say(sentence, "\"%s\" wants %d", chosen->rule, chosen->desired);
    if (decision->emergency == 0 && chosen != NULL && chosen->metric >= 0)
        say_metric(sentence, &decision->metrics[chosen->metric]);
}

static void say_missing(struct sentence *sentence, const struct autoscale_decision *decision)
{
    const char *first = NULL;
    int others = -1;
    for (int i = 0; i < decision->wish_count; i++) {
        if (decision->wishes[i].verdict != AUTOSCALE_NO_METRIC)
            continue;
        if (first == NULL)
            first = decision->wishes[i].rule;
        others++;
    }
    if (first == NULL)
        return;
    say(sentence, "; \"%s\"", first);
    if (others > 0)
        say(sentence, " and %d %s", others, others == 1 ? "other" : "others");
    say(sentence, " %s no data", others > 0 ? "have" : "has");
}

void autoscale_explain(struct autoscale_decision *decision)
{
    struct sentence sentence = {.text = decision->text};
    say_change(&sentence, decision);
    say_reason(&sentence, decision);
    for (int i = 0; i < decision->clip_count; i++)
        say(&sentence, "; %s made it %d instead of %d",
            autoscale_clip_name(decision->clips[i].clip), decision->clips[i].to,
            decision->clips[i].from);
    if (autoscale_was_clipped(decision, AUTOSCALE_CLIP_FLAP_GUARD)) {
        char window[UNITS_TEXT_SIZE];
        units_format_duration(decision->down_window_ms / 1000 * 1000, window);
        say(&sentence, " (the way down takes %s now)", window);
    }
    say_missing(&sentence, decision);
    if (decision->queue_unknown)
        say(&sentence, "; the accept queue is not known");
    say(&sentence, ".");
}
