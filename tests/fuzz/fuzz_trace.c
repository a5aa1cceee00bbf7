/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_trace - a trace is whatever file somebody names: it is refused with a reason,
 * or everything in it is within its bounds.
 */
#include "common/check.h"
#include "master/ctl/trace.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace trace;
    char error[TRACE_ERROR_SIZE] = "";
    int fd = memfd_create("trace", MFD_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    if (trace_parse(fd, "trace", &trace, error) != 0) {
        CHECK(error[0] != '\0' && strlen(error) < sizeof(error));
    } else {
        CHECK(trace.run_count > 0 && trace.run_count <= TRACE_MAX_RUNS);
        CHECK(trace.seconds > 0 && trace.seconds <= TRACE_MAX_SECONDS);
        CHECK(trace.min_workers >= 1 && trace.max_workers >= trace.min_workers);
        CHECK(trace.step_ms % 1000 == 0 && trace.evaluate_ms >= 1000 && trace.request_ms >= 1);
        for (size_t i = 0; i < trace.run_count; i++)
            CHECK(isfinite(trace.runs[i].load) && trace.runs[i].load >= 0 &&
                  trace.runs[i].steps > 0);
        trace_fini(&trace);
    }
    return 0;
}
