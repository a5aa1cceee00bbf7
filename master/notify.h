/* SPDX-License-Identifier: BSD-2-Clause
 *
 * notify - what the service manager is told (sd_notify(3)).
 *
 * Every call does nothing when no service manager asked for it.
 */
#ifndef MUSTER_NOTIFY_H
#define MUSTER_NOTIFY_H

#include <stdint.h>

void notify_ready(const char *status);
void notify_status(const char *status);
void notify_reloading(int64_t monotonic_us);
/* It will be over within that time. */
void notify_stopping(int64_t timeout_ms);
void notify_watchdog(void);

/* How often notify_watchdog() is expected, half of WATCHDOG_USEC, in ms; 0: not. */
int64_t notify_watchdog_interval_ms(void);

#endif
