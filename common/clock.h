/* SPDX-License-Identifier: BSD-2-Clause
 *
 * clock - the two clocks. Every duration is measured on the monotonic one;
 * wall time is for people (timestamps in logs and documents) only.
 */
#ifndef MUSTER_CLOCK_H
#define MUSTER_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_monotonic_ns(void);
int64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */

enum { CLOCK_RFC3339_SIZE = 25 }; /* "2026-01-31T23:59:59.999Z" and the NUL */
void clock_format_rfc3339(int64_t wall_ms, char out[CLOCK_RFC3339_SIZE]);

#endif
