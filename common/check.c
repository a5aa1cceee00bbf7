/* SPDX-License-Identifier: BSD-2-Clause
 *
 * check - the last words of a process that found a bug in itself.
 */
#include "common/check.h"

#include "common/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "common/buf.c" of whatever path the compiler was called with. */
static const char *short_path(const char *file)
{
    int separators = 0;
    for (const char *p = file + strlen(file); p > file; p--) {
        if (p[-1] == '/' && ++separators == 2)
            return p;
    }
    return file;
}

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    static bool failing;

    /* The log itself may be what is broken. */
    if (!failing) {
        failing = true;
        char where[128];
        (void)snprintf(where, sizeof(where), "%s:%d", short_path(file), line);
        uint64_t dropped = log_dropped_count();
        log_error("bug: check failed", LOG_STR("at", where), LOG_STR("condition", condition));
        if (log_dropped_count() != dropped)
            (void)dprintf(STDERR_FILENO, "bug: check failed at %s: %s\n", where, condition);
    }
    abort();
}
