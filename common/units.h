/* SPDX-License-Identifier: BSD-2-Clause
 *
 * units - reading and writing numbers, durations (500ms 30s 5m 1h 2d) and
 * sizes (512 16k 1m 1g; k is 1024), as people write them.
 *
 * Strict: digits and one unit, nothing before, between or behind them. A
 * duration needs its unit (only 0 may stand alone), so that nobody has to
 * guess whether 30 means seconds or milliseconds.
 */
#ifndef MUSTER_UNITS_H
#define MUSTER_UNITS_H

#include "common/check.h"
#include "common/slice.h"

#include <stdint.h>

/* 0; -EINVAL or -ERANGE, with `why` (static text such as "has no unit") to be
 * put behind the value in a message. `why` may be NULL. */
MUST_USE int units_parse_number(struct slice text, int64_t *out, const char **why);
MUST_USE int units_parse_duration(struct slice text, int64_t *out_ms, const char **why);
MUST_USE int units_parse_size(struct slice text, int64_t *out_bytes, const char **why);

enum { UNITS_TEXT_SIZE = 24 };

/* The shortest text that reads back as exactly this value: 90000 is "90s",
 * 60000 is "1m". Not for negative values. */
void units_format_duration(int64_t ms, char out[UNITS_TEXT_SIZE]);
void units_format_size(int64_t bytes, char out[UNITS_TEXT_SIZE]);

#endif
