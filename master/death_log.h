/* SPDX-License-Identifier: BSD-2-Clause
 *
 * death_log - says each cause of death once, then counts.
 *
 * A crash loop must not fill the log: the first death of a cause is logged in
 * full, the same again only at 10, 100, 1000 ... and at most once a minute, with
 * the count. A cause that was not seen for ten minutes is new again. Pure
 * bookkeeping; the caller writes the line.
 */
#ifndef MUSTER_DEATH_LOG_H
#define MUSTER_DEATH_LOG_H

#include "master/roster.h"

#include <stdint.h>

enum { DEATH_LOG_CAUSES = 8 };

struct death_log {
    struct {
        char cause[ROSTER_CAUSE_SIZE];
        uint64_t count;
        uint64_t next_count;
        int64_t last_seen_ms;
        int64_t last_logged_ms;
    } entry[DEATH_LOG_CAUSES];
};

/* How many deaths of this cause to report now, the ones that were not logged
 * included; 0: say nothing. */
uint64_t death_log_count(struct death_log *log, const char *cause, int64_t now_ms);

#endif
