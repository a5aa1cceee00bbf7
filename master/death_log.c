/* SPDX-License-Identifier: BSD-2-Clause
 *
 * death_log - says each cause of death once, then counts.
 */
#include "master/death_log.h"

#include <stdio.h>
#include <string.h>

enum { FORGET_AFTER_MS = 600000, REPEAT_AFTER_MS = 60000 };

uint64_t death_log_count(struct death_log *log, const char *cause, int64_t now_ms)
{
    unsigned found = 0;
    for (unsigned i = 0; i < DEATH_LOG_CAUSES; i++) {
        if (log->entry[i].count > 0 && strcmp(log->entry[i].cause, cause) == 0) {
            found = i;
            break;
        }
        if (log->entry[i].count == 0 ||
            (log->entry[found].count != 0 &&
             log->entry[i].last_seen_ms < log->entry[found].last_seen_ms))
            found = i;
    }
    bool known = log->entry[found].count > 0 && strcmp(log->entry[found].cause, cause) == 0 &&
                 now_ms - log->entry[found].last_seen_ms < FORGET_AFTER_MS;
    if (!known) {
        memset(&log->entry[found], 0, sizeof(log->entry[found]));
        (void)snprintf(log->entry[found].cause, sizeof(log->entry[found].cause), "%s", cause);
        log->entry[found].next_count = 10;
        log->entry[found].last_logged_ms = now_ms;
    }
    log->entry[found].count++;
    log->entry[found].last_seen_ms = now_ms;
    if (!known)
        return 1;
    if (log->entry[found].count == log->entry[found].next_count ||
        now_ms - log->entry[found].last_logged_ms >= REPEAT_AFTER_MS) {
        while (log->entry[found].next_count <= log->entry[found].count)
            log->entry[found].next_count *= 10;
        log->entry[found].last_logged_ms = now_ms;
        return log->entry[found].count;
    }
    return 0;
}
