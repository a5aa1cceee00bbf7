/* SPDX-License-Identifier: BSD-2-Clause
 *
 * notify - what the service manager is told (sd_notify(3)).
 */
#include "master/notify.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

void notify_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s\nMAINPID=%ld", status, (long)getpid());
}

void notify_status(const char *status)
{
    (void)sd_notifyf(0, "STATUS=%s", status);
}

void notify_reloading(int64_t monotonic_us)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, monotonic_us);
}

void notify_stopping(int64_t timeout_ms)
{
    /* TimeoutStopSec= may be too short for the configured drain_timeout. */
    (void)sd_notifyf(0, "STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=%" PRId64,
                     timeout_ms * 1000);
}

void notify_watchdog(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

int64_t notify_watchdog_interval_ms(void)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0)
        return 0;
    int64_t interval_ms = (int64_t)(usec / 2000);
    return interval_ms > 0 ? interval_ms : 1;
}
